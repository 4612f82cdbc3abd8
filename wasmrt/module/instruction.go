package module

import (
	"errors"
	"fmt"
)

// The opcodes that rewriting knows by name.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opFirstLoad    = 0x28
	opLastStore    = 0x3e
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opFirstNumeric = 0x45
	opLastNumeric  = 0xc4
	opI32LtS       = 0x48
	opI32GeS       = 0x4e
	opI64Eqz       = 0x50
	opI32GtU       = 0x4b
	opI32LeU       = 0x4d
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32Or        = 0x72
	opI32ShrU      = 0x76
	opI64GtU       = 0x56
	opI64Shl       = 0x86
	opI64Ne        = 0x52
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64And       = 0x83
	opI32WrapI64   = 0xa7
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd

	blockEmpty = 0x40
)

// The instructions behind opMisc.
const (
	miscLastTruncate = 7
	miscMemoryInit   = 8
	miscDataDrop     = 9
	miscMemoryCopy   = 10
	miscMemoryFill   = 11
	miscTableInit    = 12
	miscElemDrop     = 13
	miscTableCopy    = 14
	miscTableGrow    = 15
	miscTableSize    = 16
	miscTableFill    = 17
)

// The instructions behind opVector that have immediates.
const (
	vectorLastLoadStore  = 0x0b
	vectorConst          = 0x0c
	vectorShuffle        = 0x0d
	vectorFirstLane      = 0x15
	vectorLastLane       = 0x22
	vectorFirstLoadLane  = 0x54
	vectorLastStoreLane  = 0x5b
	vectorLoadZero32     = 0x5c
	vectorLoadZero64     = 0x5d
	vectorLast           = 0x113
	vectorBytesImmediate = 16
)

// instruction is one decoded instruction and where it stands in its body.
type instruction struct {
	op         byte
	sub        uint32 // behind opMisc and opVector
	index      uint32 // the first immediate that is an index or a label
	start, end int
	targets    []uint32 // of br_table, the default last; valid until the next instruction
}

// instructions walks a function's code. It knows the format, not the types: what does not validate is left to the engine.
type instructions struct {
	c       cursor
	targets []uint32
}

func (w *instructions) next() (in instruction, err error) {
	in.start = w.c.pos
	if in.op, err = w.c.u8(); err != nil {
		return in, err
	}
	err = w.immediates(&in)
	in.end = w.c.pos
	return in, err
}

func (w *instructions) immediates(in *instruction) (err error) {
	c := &w.c
	switch op := in.op; {
	case op >= opFirstNumeric && op <= opLastNumeric, op <= 0x01, op == opElse, op == opEnd, op == opReturn,
		op == 0x1a, op == 0x1b, op == opRefIsNull:
	case op == opBlock || op == opLoop || op == opIf:
		err = c.skipLEB(33)
	case op == opBr || op == opBrIf || op == opCall || op >= opLocalGet && op <= opTableSet || op == opRefFunc:
		in.index, err = c.u32()
	case op == opBrTable:
		err = w.brTable(in)
	case op == opCallIndirect:
		if in.index, err = c.u32(); err == nil {
			_, err = c.u32()
		}
	case op == opSelectTyped:
		err = w.selectTypes()
	case op >= opFirstLoad && op <= opLastStore:
		err = w.memoryArgument()
	case op == opMemorySize || op == opMemoryGrow || op == opRefNull:
		_, err = c.u8()
	case op == opI32Const:
		err = c.skipLEB(32)
	case op == opI64Const:
		err = c.skipLEB(64)
	case op == opF32Const:
		_, err = c.bytes(4)
	case op == opF64Const:
		_, err = c.bytes(8)
	case op == opMisc:
		err = w.misc(in)
	case op == opVector:
		err = w.vector(in)
	default:
		err = fmt.Errorf("instruction %#x is unknown", op)
	}
	return err
}

func (w *instructions) brTable(in *instruction) error {
	n, err := w.c.u32()
	if err != nil {
		return err
	}
	if uint64(n) >= uint64(w.c.left()) {
		return fmt.Errorf("%d labels cannot stand in %d bytes", n, w.c.left())
	}
	w.targets = w.targets[:0]
	for range n + 1 {
		label, err := w.c.u32()
		if err != nil {
			return err
		}
		w.targets = append(w.targets, label)
	}
	in.targets = w.targets
	return nil
}

func (w *instructions) selectTypes() error {
	n, err := w.c.u32()
	if err != nil {
		return err
	}
	if n != 1 {
		return errors.New("select has not one type")
	}
	_, err = valueType(&w.c)
	return err
}

// memoryArgument passes alignment and offset.
func (w *instructions) memoryArgument() error {
	if _, err := w.c.u32(); err != nil {
		return err
	}
	_, err := w.c.u32()
	return err
}

func (w *instructions) misc(in *instruction) (err error) {
	if in.sub, err = w.c.u32(); err != nil {
		return err
	}
	switch in.sub {
	case miscMemoryInit, miscMemoryCopy, miscTableInit, miscTableCopy:
		if in.index, err = w.c.u32(); err == nil {
			_, err = w.c.u32()
		}
	case miscDataDrop, miscMemoryFill, miscElemDrop, miscTableGrow, miscTableSize, miscTableFill:
		in.index, err = w.c.u32()
	default:
		if in.sub > miscLastTruncate {
			err = fmt.Errorf("instruction 0xfc %d is unknown", in.sub)
		}
	}
	return err
}

func (w *instructions) vector(in *instruction) (err error) {
	if in.sub, err = w.c.u32(); err != nil {
		return err
	}
	switch s := in.sub; {
	case s <= vectorLastLoadStore || s == vectorLoadZero32 || s == vectorLoadZero64:
		err = w.memoryArgument()
	case s == vectorConst || s == vectorShuffle:
		_, err = w.c.bytes(vectorBytesImmediate)
	case s >= vectorFirstLane && s <= vectorLastLane:
		_, err = w.c.u8()
	case s >= vectorFirstLoadLane && s <= vectorLastStoreLane:
		if err = w.memoryArgument(); err == nil {
			_, err = w.c.u8()
		}
	case s > vectorLast:
		err = fmt.Errorf("instruction 0xfd %#x is unknown", s)
	}
	return err
}
