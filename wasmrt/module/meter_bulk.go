package module

// An instruction cannot be interrupted, and one memory.fill can cover gigabytes: as long as it runs, neither the host's
// collector nor a deadline gets through. So what is larger than a piece is done by a function of ours, piece by piece,
// each paid for before it begins.
const (
	bulkPiece = 1 << 20 // bytes; some 100 µs
	// bulkShift makes fuel of a size: sixteen bytes a unit, and two elements of a table.
	bulkShift  = 4
	tableShift = 1

	fillName = MeterModule + ".fill"
	copyName = MeterModule + ".copy"
)

// inPieces tells the instructions that are done in pieces.
func inPieces(sub uint32) bool { return sub == miscMemoryFill || sub == miscMemoryCopy }

// bulkFunction is the index of the function that does the instruction in pieces. There are two, after the module's own.
func (w *rewriter) bulkFunction(sub uint32) uint32 {
	if sub == miscMemoryFill {
		return w.shift(uint32(len(w.functions)))
	}
	return w.shift(uint32(len(w.functions)) + 1)
}

// bulkType is the type of both functions, and of a block that begins with the instruction's operands on the stack.
func (w *rewriter) bulkType() uint32 {
	return w.typeIndexOf(FuncType{Params: []ValueType{I32, I32, I32}})
}

// bulk writes a bulk instruction with what pays for it, by the size on top of the stack.
func (wr *writer) bulk(in instruction, raw []byte) {
	wr.indexed(opLocalTee, wr.size)
	if !inPieces(in.sub) {
		wr.chargeBySize(wr.size, in.sub)
		wr.out = append(wr.out, raw...)
		return
	}
	wr.w.piecewise = true
	wr.indexed(opLocalGet, wr.size)
	wr.i32(bulkPiece)
	wr.out = append(append(wr.out, opI32GtU, opIf), appendS64(nil, int64(wr.w.bulkType()))...)
	if wr.p.cached {
		wr.store()
	}
	wr.indexed(opCall, wr.w.bulkFunction(in.sub))
	if wr.p.cached {
		wr.load()
	}
	wr.out = append(wr.out, opElse)
	wr.chargeBySize(wr.size, in.sub)
	wr.out = append(append(wr.out, raw...), opEnd)
}

// chargeBySize pays by the size in a local variable.
func (wr *writer) chargeBySize(local, sub uint32) {
	shift := byte(bulkShift)
	if sub >= miscTableInit {
		shift = tableShift
	}
	wr.get()
	wr.indexed(opLocalGet, local)
	wr.out = append(wr.out, opI32Const, shift, opI32ShrU, opI64ExtendU, opI64Sub)
	wr.set()
	wr.check(false)
}

// The parameters of the two functions.
const (
	bulkTo   = 0
	bulkFrom = 1 // or the value to fill with
	bulkSize = 2
)

// bulkBody is the body of one of the two functions.
func (w *rewriter) bulkBody(sub uint32) []byte {
	wr := &writer{w: w, p: &plan{}, out: []byte{0}}
	// What does not fit the memory must trap before anything is written: the instruction itself does that.
	wr.beyondMemory(bulkTo)
	if sub == miscMemoryCopy {
		wr.beyondMemory(bulkFrom)
		wr.out = append(wr.out, opI32Or)
	}
	wr.out = append(wr.out, opIf, blockEmpty)
	wr.piece(sub, false, bulkSize)
	wr.out = append(wr.out, opReturn, opEnd)
	if sub == miscMemoryCopy {
		// Towards higher addresses the end goes first, as the pieces may overlap.
		wr.out = append(wr.out, opLocalGet, bulkTo, opLocalGet, bulkFrom, opI32GtU, opIf, blockEmpty)
		wr.pieces(sub, true)
		wr.out = append(wr.out, opElse)
		wr.pieces(sub, false)
		wr.out = append(wr.out, opEnd)
	} else {
		wr.pieces(sub, false)
	}
	return append(wr.out, opEnd)
}

// beyondMemory leaves on the stack whether the range that begins at a parameter ends outside of the memory.
func (wr *writer) beyondMemory(start byte) {
	const pageShift = 16
	wr.out = append(wr.out, opLocalGet, start, opI64ExtendU, opLocalGet, bulkSize, opI64ExtendU, opI64Add,
		opMemorySize, 0, opI64ExtendU, opI64Const, pageShift, opI64Shl, opI64GtU)
}

// pieces does a piece as long as there is more than one, and then the rest.
func (wr *writer) pieces(sub uint32, backwards bool) {
	wr.out = append(wr.out, opBlock, blockEmpty, opLoop, blockEmpty)
	wr.spend(bulkPiece >> bulkShift)
	wr.check(false)
	wr.out = append(wr.out, opLocalGet, bulkSize)
	wr.i32(bulkPiece)
	wr.out = append(wr.out, opI32LeU, opBrIf, 1)
	if backwards {
		wr.move(bulkSize, opI32Sub)
		wr.piece(sub, true, 0)
	} else {
		wr.piece(sub, false, 0)
		wr.move(bulkTo, opI32Add)
		if sub == miscMemoryCopy {
			wr.move(bulkFrom, opI32Add)
		}
		wr.move(bulkSize, opI32Sub)
	}
	wr.out = append(wr.out, opBr, 0, opEnd, opEnd)
	wr.piece(sub, false, bulkSize)
}

// move changes a parameter by a piece.
func (wr *writer) move(parameter, op byte) {
	wr.out = append(wr.out, opLocalGet, parameter)
	wr.i32(bulkPiece)
	wr.out = append(wr.out, op, opLocalSet, parameter)
}

// piece does the instruction once: for one piece, or, when a parameter is given, for as much as that says. At the end
// means behind what is left of the size.
func (wr *writer) piece(sub uint32, atEnd bool, size byte) {
	for _, parameter := range []byte{bulkTo, bulkFrom} {
		wr.out = append(wr.out, opLocalGet, parameter)
		if atEnd {
			wr.out = append(wr.out, opLocalGet, bulkSize, opI32Add)
		}
	}
	if size == 0 {
		wr.i32(bulkPiece)
	} else {
		wr.out = append(wr.out, opLocalGet, size)
	}
	wr.out = append(wr.out, opMisc, byte(sub), 0)
	if sub == miscMemoryCopy {
		wr.out = append(wr.out, 0)
	}
}

func (wr *writer) i32(v int32) { wr.out = appendS64(append(wr.out, opI32Const), int64(v)) }
