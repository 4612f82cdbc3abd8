package module

// callGraph says which functions can be part of a recursion. Its nodes are the functions that the module defines and,
// after them, the types: an indirect call goes to its type, and from there to each function of that type whose address
// is taken. Nothing outside calls back into the module while it runs.
type callGraph struct {
	targets []uint32 // of direct calls, function after function
	types   []uint32 // of indirect calls, likewise
	ends    [][2]uint32
	address map[uint32]bool // functions whose address is taken
}

func (g *callGraph) call(function uint32)    { g.targets = append(g.targets, function) }
func (g *callGraph) callIndirect(typ uint32) { g.types = append(g.types, typ) }
func (g *callGraph) endFunction() {
	g.ends = append(g.ends, [2]uint32{uint32(len(g.targets)), uint32(len(g.types))})
}

func (g *callGraph) take(function uint32) {
	if g.address == nil {
		g.address = map[uint32]bool{}
	}
	g.address[function] = true
}

// direct returns what a function calls by name, and the types it calls by address.
func (g *callGraph) direct(function uint32) (functions, types []uint32) {
	var from [2]uint32
	if function > 0 {
		from = g.ends[function-1]
	}
	to := g.ends[function]
	return g.targets[from[0]:to[0]], g.types[from[1]:to[1]]
}

// typeIDs gives equal types equal numbers.
func typeIDs(types []FuncType) []uint32 {
	ids := make([]uint32, len(types))
	seen := make(map[string]uint32, len(types))
	for i, t := range types {
		k := t.String()
		if _, ok := seen[k]; !ok {
			seen[k] = uint32(i)
		}
		ids[i] = seen[k]
	}
	return ids
}

// edges lists each node's successors.
func (g *callGraph) edges(bodies []body, types []FuncType) [][]uint32 {
	ids := typeIDs(types)
	n := uint32(len(bodies))
	next := make([][]uint32, int(n)+len(types))
	for i := range n {
		functions, indirect := g.direct(i)
		next[i] = functions
		if len(indirect) > 0 {
			next[i] = append(make([]uint32, 0, len(functions)+len(indirect)), functions...)
			for _, t := range indirect {
				next[i] = append(next[i], n+ids[t])
			}
		}
	}
	for f := range g.address {
		t := n + ids[bodies[f].typ]
		next[t] = append(next[t], f)
	}
	return next
}

// order lists the functions so that each stands after those it calls, but for recursions, and says which can be part of
// one: that is Tarjan's algorithm for strongly connected components, with a stack of its own because call chains can be
// as long as a module has functions.
func (g *callGraph) order(bodies []body, types []FuncType) (order []uint32, recursive []bool) {
	t := &tarjan{next: g.edges(bodies, types), functions: uint32(len(bodies)), recursive: make([]bool, len(bodies))}
	t.index = make([]uint32, len(t.next))
	t.low = make([]uint32, len(t.next))
	t.onStack = make([]bool, len(t.next))
	for v := range t.functions {
		if t.index[v] == 0 {
			t.walk(v)
		}
	}
	return t.order, t.recursive
}

type tarjan struct {
	next       [][]uint32
	functions  uint32
	index, low []uint32 // numbered from 1; zero is not visited
	onStack    []bool
	stack      []uint32
	path       []visit
	last       uint32

	order     []uint32
	recursive []bool
}

type visit struct {
	node uint32
	edge int
}

func (t *tarjan) walk(root uint32) {
	t.enter(root)
	for len(t.path) > 0 {
		at := &t.path[len(t.path)-1]
		v := at.node
		if at.edge < len(t.next[v]) {
			w := t.next[v][at.edge]
			at.edge++
			switch {
			case t.index[w] == 0:
				t.enter(w)
			case t.onStack[w]:
				t.low[v] = min(t.low[v], t.index[w])
				if w == v && v < t.functions {
					t.recursive[v] = true
				}
			}
			continue
		}
		t.path = t.path[:len(t.path)-1]
		if len(t.path) > 0 {
			up := t.path[len(t.path)-1].node
			t.low[up] = min(t.low[up], t.low[v])
		}
		if t.low[v] == t.index[v] {
			t.component(v)
		}
	}
}

func (t *tarjan) enter(v uint32) {
	t.last++
	t.index[v], t.low[v] = t.last, t.last
	t.onStack[v] = true
	t.stack = append(t.stack, v)
	t.path = append(t.path, visit{node: v})
}

// component takes a finished component off the stack.
func (t *tarjan) component(root uint32) {
	at := len(t.stack) - 1
	for t.stack[at] != root {
		at--
	}
	members := t.stack[at:]
	t.stack = t.stack[:at]
	for _, v := range members {
		t.onStack[v] = false
		if v < t.functions {
			t.order = append(t.order, v)
			t.recursive[v] = t.recursive[v] || len(members) > 1
		}
	}
}
