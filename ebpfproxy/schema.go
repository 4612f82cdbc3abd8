package ebpfproxy

// schemaVersion is of the layout of all maps that outlive a process. Whoever changes a struct or a meaning in bpf/*.h
// raises it, and says in carried what did not change.
const schemaVersion = 1

// carried names, for each older schema, the maps whose layout is the present one's: they are taken over. The rest starts
// empty; the older programs serve on with the older maps until the first Sync has filled it.
var carried = map[int][]string{}

// steady are the maps that no schema has changed: they are taken over from each older one. Whoever changes one strikes it
// out. Those of steering cannot start empty: nobody could be reached until whoever listens has said so again.
var steady = []string{mapListen, mapSockets, mapSteered}

// tableMaps are of one piece: ids in one are positions in another. They are taken over together or not at all.
var tableMaps = []string{"petrel_svc", "petrel_slot", "petrel_backend", "petrel_svcstat", "petrel_bestat", "petrel_srcrange"}
