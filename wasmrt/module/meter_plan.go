package module

import (
	"errors"
	"fmt"
)

// Fuel's unit is one plain instruction, about a third of a nanosecond.
const (
	// maxOwed bounds what a stretch of code may cost before it pays: so a function without loops pays too, however long
	// it is.
	maxOwed = 256
	// maxFree is what a function may cost and leave paying to its callers.
	maxFree = 40
	// callCost is for the call itself, hostCost for one of a host function, growCost for a change of mappings.
	callCost = 4
	hostCost = 40
	growCost = 200
	slowCost = 8 // divisions, square roots
)

// charge is a place where fuel is paid.
type charge struct {
	at   int // offset in the body's code, before the instruction that stands there
	cost int64
	// check says that the guest yields here when it has no fuel left. What is paid without stands before one that checks.
	check bool
	// header says that it is the price of a loop's round: the loop begins right before.
	header bool
}

// plan says how one function pays.
//
// Everything on a way through the function is paid for at a charge further on; what is owed where the function returns
// is paid at its entry, by itself or, when it is little, by whoever calls it. The price of a loop's header is the most
// that is owed at any jump back to it.
type plan struct {
	charges   []charge
	entry     int64 // paid at the function's entry; zero: its callers pay
	free      int64 // what callers pay for it
	recursive bool  // its calls are counted
	touches   bool  // the counter may be another after a call of it
	cached    bool  // the counter is kept in a local variable between calls
	bulk      bool  // it has instructions that pay by size
	escapes   bool  // a branch leaves it
}

// frame is a block under planning. Owed is -1 where code cannot be reached.
type frame struct {
	op     byte
	before int64 // owed where the block begins
	merged int64 // the most owed at a branch to its end, or of a loop, to its beginning
	header int   // the loop's place in charges
	clean  bool  // no call in the loop touches the counter
}

type planner struct {
	w      *rewriter
	p      *plan
	frames []frame
	owed   int64
}

// plan makes the plan of a function. Those that it calls are planned already, unless they are in a recursion.
func (w *rewriter) plan(i uint32, recursive bool) error {
	p := &w.plans[i]
	p.recursive = recursive && w.o.CallDepth
	pl := planner{w: w, p: p, frames: append(w.frames[:0], frame{op: opBlock, merged: -1})}
	code := instructions{c: cursor{b: w.survey.bodies[i].code}, targets: w.targets}
	for len(pl.frames) > 0 {
		in, err := code.next()
		if err == nil {
			err = pl.step(in)
		}
		if err != nil {
			return fmt.Errorf("function %d: %w", i+w.imported.functions, err)
		}
	}
	w.frames, w.targets = pl.frames, code.targets
	w.settle(p, max(pl.owed, 0), recursive)
	return nil
}

// settle decides who pays what is owed at the function's end.
func (w *rewriter) settle(p *plan, owed int64, recursive bool) {
	if !w.o.Meter {
		p.charges, p.cached, p.bulk = nil, false, false
		p.touches = p.touches || p.recursive
		return
	}
	kept := p.charges[:0]
	for _, c := range p.charges {
		if c.cost > 0 {
			kept = append(kept, c)
		}
	}
	p.charges = kept
	if recursive || owed > maxFree {
		p.entry = max(owed, 1)
	} else {
		p.free = owed
	}
	p.touches = p.touches || p.recursive || p.bulk || p.entry > 0 || len(p.charges) > 0
}

func (p *planner) step(in instruction) error {
	switch in.op {
	case opBlock, opIf, opLoop:
		p.open(in)
	case opElse:
		top := &p.frames[len(p.frames)-1]
		if top.op != opIf {
			return errors.New("else outside if")
		}
		top.merged = max(top.merged, p.owed)
		top.op, p.owed = opElse, top.before
	case opEnd:
		p.close()
	case opBr, opBrIf:
		return p.branch(in, in.index)
	case opBrTable:
		for _, label := range in.targets {
			if err := p.branch(in, label); err != nil {
				return err
			}
		}
		p.owed = -1
	case opReturn:
		p.frames[0].merged = max(p.frames[0].merged, p.owed)
		p.owed = -1
	case opUnreachable:
		p.owed = -1
	default:
		p.spend(in)
	}
	return nil
}

func (p *planner) open(in instruction) {
	f := frame{op: in.op, before: p.owed, merged: -1}
	if in.op == opLoop {
		// The first charge is for what is owed on the way in, beyond what the header takes.
		f.header, f.clean = len(p.p.charges), true
		p.p.charges = append(p.p.charges, charge{at: in.start}, charge{at: in.end, check: true, header: true})
		p.owed = min(p.owed, 0)
	}
	p.frames = append(p.frames, f)
}

func (p *planner) close() {
	f := p.frames[len(p.frames)-1]
	p.frames = p.frames[:len(p.frames)-1]
	switch f.op {
	case opLoop:
		p.closeLoop(f)
		return
	case opIf: // without else
		f.merged = max(f.merged, f.before)
	}
	p.owed = max(p.owed, f.merged)
}

func (p *planner) closeLoop(f frame) {
	if len(p.frames) > 0 && !f.clean {
		p.touched()
	}
	if f.merged < 0 || f.before < 0 { // nothing jumps back, or nothing comes here
		p.p.charges[f.header].cost = max(f.before, 0)
		return
	}
	header := max(f.merged, 1)
	p.p.charges[f.header].cost = max(f.before-header, 0)
	p.p.charges[f.header+1].cost = header
	p.p.cached = p.p.cached || f.clean
}

func (p *planner) branch(in instruction, label uint32) error {
	if uint64(label) >= uint64(len(p.frames)) {
		return fmt.Errorf("label %d does not exist", label)
	}
	to := len(p.frames) - 1 - int(label)
	p.frames[to].merged = max(p.frames[to].merged, p.owed)
	p.p.escapes = p.p.escapes || to == 0
	if in.op == opBr {
		p.owed = -1
	}
	return nil
}

// touched notes a call after which the counter may be another.
func (p *planner) touched() {
	p.p.touches = true
	for i := len(p.frames) - 1; i >= 0; i-- {
		if p.frames[i].op == opLoop {
			p.frames[i].clean = false
			return // closing it tells the one around it
		}
	}
}

func (p *planner) spend(in instruction) {
	cost := p.cost(in)
	if p.owed < 0 {
		return
	}
	p.owed += cost
	if p.owed >= maxOwed {
		p.p.charges = append(p.p.charges, charge{at: in.start, cost: p.owed, check: true})
		p.owed = 0
	}
}

func (p *planner) cost(in instruction) int64 {
	switch op := in.op; {
	case op == opCall:
		return p.callCost(in.index)
	case op == opCallIndirect:
		p.touched()
		return callCost + maxFree
	case op == opMemoryGrow:
		return growCost
	case op == opMisc && isBulk(in.sub):
		p.p.bulk = true
		return callCost
	case op >= opI32Const && op <= opF64Const, op == opLocalGet, op == 0x1a, op == 0x01:
		return 0 // they take no time of their own
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82, op == 0x91, op == 0x95, op == 0x9f, op == 0xa3:
		return slowCost
	}
	return 1
}

func (p *planner) callCost(function uint32) int64 {
	if function < p.w.imported.functions {
		p.touched()
		return hostCost
	}
	callee := &p.w.plans[function-p.w.imported.functions]
	if !p.w.planned[function-p.w.imported.functions] || callee.touches {
		p.touched()
	}
	return callCost + callee.free
}

func isBulk(sub uint32) bool {
	switch sub {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill, miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		return true
	}
	return false
}
