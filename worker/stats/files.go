package stats

// Files are what a pod keeps on the node's disk beside its containers' layers.
type Files struct {
	Logs    map[string]DiskUse // by container
	Volumes map[string]DiskUse // those that go with the pod, by name
	Other   DiskUse            // what the node has made for it
}

// Total is all of it.
func (f Files) Total() DiskUse {
	var sum DiskUse
	sum.add(f.Other)
	for _, all := range []map[string]DiskUse{f.Logs, f.Volumes} {
		for _, one := range all {
			sum.add(one)
		}
	}
	return sum
}

func (d *DiskUse) add(more DiskUse) {
	add(&d.Bytes, more.Bytes)
	add(&d.Inodes, more.Inodes)
}
