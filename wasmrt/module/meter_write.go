package module

// writer writes the new body of one function.
type writer struct {
	w     *rewriter
	p     *plan
	out   []byte
	cache uint32 // the local variable that holds the counter, when the plan is cached
	size  uint32 // the local variable for the size of a bulk operation
	loops []int  // of each block around: how many loops up to and with it were given a way out
}

// body appends a function's new body without its length. The code was walked before, so what is read here is there.
func (w *rewriter) body(out []byte, i uint32) ([]byte, error) {
	b := &w.survey.bodies[i]
	wr := &writer{w: w, p: &w.plans[i], out: out}
	wr.locals(b)
	wr.entry()
	wrapped := wr.p.escapes && wr.leaves()
	if wrapped {
		// What branches out of the function comes to the end of this block, where the rest is paid back.
		wr.out = append(wr.out, opBlock)
		wr.out = append(wr.out, w.blockType(w.types[b.typ].Results)...)
	}
	if err := wr.code(b.code); err != nil {
		return nil, err
	}
	if wrapped {
		wr.out = append(wr.out, opEnd)
	}
	wr.exit()
	return append(wr.out, opEnd), nil
}

func (wr *writer) locals(b *body) {
	groups, next := b.groups, b.variables
	var added []byte
	if wr.p.cached {
		wr.cache = next
		added = append(added, 1, byte(I64))
		groups++
		next++
	}
	if wr.p.bulk {
		wr.size = next
		added = append(added, 1, byte(I32))
		groups++
	}
	wr.out = appendU32(wr.out, groups)
	wr.out = append(wr.out, b.locals...)
	wr.out = append(wr.out, added...)
}

// code copies the instructions but the last end, with what is added between them.
func (wr *writer) code(code []byte) error {
	in := instructions{c: cursor{b: code}, targets: wr.w.targets}
	charges := wr.p.charges
	wr.loops = append(wr.w.loops[:0], 0)
	copied := 0
	for in.c.left() > 0 {
		op, err := in.next()
		if err != nil {
			return err
		}
		for len(charges) > 0 && charges[0].at <= op.start {
			wr.out = append(wr.out, code[copied:op.start]...)
			copied = op.start
			wr.charge(charges[0])
			charges = charges[1:]
		}
		if len(wr.loops) == 1 && op.op == opEnd {
			break
		}
		wayOut := op.op == opLoop && len(charges) > 0 && charges[0].header && charges[0].at == op.end && wr.w.withoutParams(code[op.start+1:op.end])
		if wayOut || wr.special(op) {
			wr.out = append(wr.out, code[copied:op.start]...)
			copied = op.end
			if wayOut {
				wr.openLoop(code[op.start:op.end], charges[0])
				charges = charges[1:]
			} else {
				wr.instruction(op, code[op.start:op.end])
			}
		}
		wr.nest(op.op, wayOut)
	}
	wr.out = append(wr.out, code[copied:len(code)-1]...)
	wr.w.targets, wr.w.loops = in.targets, wr.loops
	return nil
}

// nest follows the blocks.
func (wr *writer) nest(op byte, wayOut bool) {
	top := len(wr.loops) - 1
	switch op {
	case opBlock, opLoop, opIf:
		loops := wr.loops[top]
		if wayOut {
			loops++
		}
		wr.loops = append(wr.loops, loops)
	case opEnd:
		wr.loops = wr.loops[:top]
	}
}

// hasWayOut tells whether the innermost block is a loop with a way out.
func (wr *writer) hasWayOut() bool {
	top := len(wr.loops) - 1
	return top > 0 && wr.loops[top] > wr.loops[top-1]
}

// wayOutLabels is how many blocks are put around a loop with a way out.
const wayOutLabels = 3

// openLoop begins a loop that the guest leaves when it has no fuel, to yield and enter it again:
//
//	loop $again
//	  block $done
//	    block $empty
//	      loop       ;; the module's own
//	        (br_if $empty (no fuel))
//	        …
//	      end
//	      br $done
//	    end
//	    call $yield
//	    br $again
//	  end
//	end
//
// A call within the loop, even one that is rarely made, would have the compiler keep the loop's variables in memory.
func (wr *writer) openLoop(loop []byte, c charge) {
	blockType := loop[1:]
	wr.out = append(append(wr.out, opLoop), blockType...)
	wr.out = append(append(wr.out, opBlock), blockType...)
	wr.out = append(wr.out, opBlock, blockEmpty)
	wr.out = append(wr.out, loop...)
	wr.spend(c.cost)
	wr.get()
	wr.out = append(wr.out, opI32WrapI64, opI32Const, 0, opI32LtS, opBrIf, 1)
}

// closeLoop ends what openLoop began.
func (wr *writer) closeLoop() {
	wr.out = append(wr.out, opEnd, opBr, 1, opEnd)
	wr.callYield()
	wr.out = append(wr.out, opBr, 1, opEnd, opEnd)
}

// withoutParams tells whether a block of the type takes nothing from the stack.
func (w *rewriter) withoutParams(blockType []byte) bool {
	c := cursor{b: blockType}
	if blockType[0] == blockEmpty || ValueType(blockType[0]).valid() {
		return true
	}
	i, err := c.u32()
	return err == nil && i < uint32(len(w.types)) && len(w.types[i].Params) == 0
}

// special tells the instructions that are not copied as they are.
func (wr *writer) special(in instruction) bool {
	switch in.op {
	case opCall, opRefFunc:
		return true
	case opBr, opBrIf, opBrTable:
		return wr.loops[len(wr.loops)-1] > 0
	case opEnd:
		return wr.hasWayOut()
	case opCallIndirect:
		return wr.p.cached
	case opReturn:
		return wr.leaves()
	case opMisc:
		return wr.p.bulk && isBulk(in.sub)
	}
	return false
}

func (wr *writer) instruction(in instruction, raw []byte) {
	switch in.op {
	case opCall:
		touches := wr.p.cached && wr.w.touches(in.index)
		if touches {
			wr.store()
		}
		wr.indexed(opCall, wr.w.shift(in.index))
		if touches {
			wr.load()
		}
	case opRefFunc:
		wr.indexed(opRefFunc, wr.w.shift(in.index))
	case opBr, opBrIf:
		wr.indexed(in.op, wr.label(in.index))
	case opBrTable:
		wr.out = appendU32(append(wr.out, opBrTable), uint32(len(in.targets)-1))
		for _, label := range in.targets {
			wr.out = appendU32(wr.out, wr.label(label))
		}
	case opEnd:
		wr.closeLoop()
	case opCallIndirect:
		wr.store()
		wr.out = append(wr.out, raw...)
		wr.load()
	case opReturn:
		wr.exit()
		wr.out = append(wr.out, raw...)
	case opMisc:
		wr.bulk(in, raw)
	}
}

// label turns a label into what it is with the blocks that were put around loops. The planner has checked it.
func (wr *writer) label(label uint32) uint32 {
	top := len(wr.loops) - 1
	return label + wayOutLabels*uint32(wr.loops[top]-wr.loops[top-int(label)])
}

// touches tells whether the counter may be another after a call of the function.
func (w *rewriter) touches(function uint32) bool {
	return function < w.imported.functions || w.plans[function-w.imported.functions].touches
}

// leaves tells whether something is to be done when the function ends.
func (wr *writer) leaves() bool { return wr.p.cached || wr.p.recursive }

// entry pays for the call, and counts it.
func (wr *writer) entry() {
	spend := wr.p.entry
	if wr.p.recursive {
		spend += depthOne
	}
	if spend == 0 {
		if wr.p.cached {
			wr.load()
		}
		return
	}
	wr.indexed(opGlobalGet, wr.w.counter)
	wr.constant(spend)
	wr.out = append(wr.out, opI64Sub)
	wr.set()
	wr.check(wr.p.recursive)
}

// exit takes the call out of the count again, and hands the counter on.
func (wr *writer) exit() {
	if !wr.leaves() {
		return
	}
	wr.get()
	if wr.p.recursive {
		wr.constant(depthOne)
		wr.out = append(wr.out, opI64Add)
	}
	wr.indexed(opGlobalSet, wr.w.counter)
}

func (wr *writer) charge(c charge) {
	wr.spend(c.cost)
	if c.check {
		wr.check(false)
	}
}

func (wr *writer) spend(fuel int64) {
	wr.get()
	wr.constant(fuel)
	wr.out = append(wr.out, opI64Sub)
	wr.set()
}

// check calls the host when fuel, or depth too, is used up. It branches around the call rather than into it: the
// compiler then takes the way without the call for the usual one.
func (wr *writer) check(depth bool) {
	wr.out = append(wr.out, opBlock, blockEmpty)
	wr.get()
	if depth {
		wr.constant(counterAlarm)
		wr.out = append(wr.out, opI64And, opI64Eqz)
	} else {
		wr.out = append(wr.out, opI32WrapI64, opI32Const, 0, opI32GeS)
	}
	wr.out = append(wr.out, opBrIf, 0)
	wr.callYield()
	wr.out = append(wr.out, opEnd)
}

func (wr *writer) callYield() {
	if wr.p.cached {
		wr.store()
	}
	wr.indexed(opCall, wr.w.yield())
	if wr.p.cached {
		wr.load()
	}
}

// get and set use the counter where it is kept.
func (wr *writer) get() {
	if wr.p.cached {
		wr.indexed(opLocalGet, wr.cache)
	} else {
		wr.indexed(opGlobalGet, wr.w.counter)
	}
}

func (wr *writer) set() {
	if wr.p.cached {
		wr.indexed(opLocalSet, wr.cache)
	} else {
		wr.indexed(opGlobalSet, wr.w.counter)
	}
}

// store and load move the counter between its local variable and its global.
func (wr *writer) store() {
	wr.indexed(opLocalGet, wr.cache)
	wr.indexed(opGlobalSet, wr.w.counter)
}

func (wr *writer) load() {
	wr.indexed(opGlobalGet, wr.w.counter)
	wr.indexed(opLocalSet, wr.cache)
}

func (wr *writer) indexed(op byte, index uint32) { wr.out = appendU32(append(wr.out, op), index) }
func (wr *writer) constant(v int64)              { wr.out = appendS64(append(wr.out, opI64Const), v) }
