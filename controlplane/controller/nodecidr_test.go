package controller

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/petrelrun/petrel/controlplane/api"
)

func cidrs(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

func TestClusterCIDRsAreChecked(t *testing.T) {
	for _, tc := range []struct {
		name    string
		cluster []netip.Prefix
		mask4   int
		mask6   int
		ok      bool
	}{
		{"none", nil, 24, 64, true},
		{"both families", cidrs("10.42.0.0/16", "fd42::/48"), 24, 64, true},
		{"one node", cidrs("10.42.0.0/24"), 24, 64, true},
		{"not the first address", cidrs("10.42.0.1/16"), 24, 64, false},
		{"two of a family", cidrs("10.42.0.0/16", "10.43.0.0/16"), 24, 64, false},
		{"shares larger than the cluster", cidrs("10.42.0.0/25"), 24, 64, false},
		{"shares too small", cidrs("10.42.0.0/16"), 30, 64, false},
		{"too many shares", cidrs("fd42::/40"), 24, 64, false},
		{"no prefix", []netip.Prefix{{}}, 24, 64, false},
		{"an IPv4 prefix in disguise", cidrs("::ffff:10.42.0.0/112"), 24, 120, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := newCIDRBook(tc.cluster, tc.mask4, tc.mask6); (err == nil) != tc.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSharesAreCutAtTheirBits(t *testing.T) {
	for _, tc := range []struct {
		cluster string
		bits    int
		slot    int
		want    string
	}{
		{"10.42.0.0/16", 24, 0, "10.42.0.0/24"},
		{"10.42.0.0/16", 24, 255, "10.42.255.0/24"},
		{"10.42.0.0/16", 26, 5, "10.42.1.64/26"},
		{"10.0.0.0/8", 24, 65535, "10.255.255.0/24"},
		{"0.0.0.0/0", 16, 257, "1.1.0.0/16"},
		{"fd42::/48", 64, 0xabcd, "fd42:0:0:abcd::/64"},
		{"fd42::/56", 64, 0x12, "fd42:0:0:12::/64"},
		{"fd42::/60", 72, 0x123, "fd42:0:0:1:2300::/72"},
		{"fd42::/112", 120, 7, "fd42::700/120"},
	} {
		cluster := netip.MustParsePrefix(tc.cluster)
		r := &cidrRange{cluster: cluster, bits: tc.bits, used: make([]uint32, 1<<(tc.bits-cluster.Bits()))}
		got := r.share(tc.slot)
		if got.String() != tc.want || got != got.Masked() || r.slot(got.Addr()) != tc.slot {
			t.Errorf("share %d of %s is %s (slot %d), want %s", tc.slot, tc.cluster, got, r.slot(got.Addr()), tc.want)
		}
	}
}

// TestCIDRBookModel plays a long random game against a plain list of who has what.
func TestCIDRBookModel(t *testing.T) {
	const nodes, moves = 40, 20_000
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 7))
		cluster := cidrs("10.42.0.0/19", "fd42::/59") // 32 shares for 40 nodes
		book, err := newCIDRBook(cluster, 24, 64)
		if err != nil {
			t.Fatal(err)
		}
		model, former := map[string][]netip.Prefix{}, map[string][]netip.Prefix{}
		for range moves {
			node := fmt.Sprint("n", rng.IntN(nodes))
			switch rng.IntN(8) {
			case 0, 1:
				book.forget(node)
				if had, ok := model[node]; ok {
					former[node] = had
				}
				delete(model, node)
			case 2: // somebody else gave it prefixes, of another size perhaps, or of elsewhere
				var shown []netip.Prefix
				for _, s := range []string{
					fmt.Sprintf("10.42.%d.0/%d", rng.IntN(40), 20+rng.IntN(9)), fmt.Sprintf("fd42:0:0:%x::/%d", rng.IntN(40), 60+rng.IntN(9)),
				} {
					shown = append(shown, netip.MustParsePrefix(s).Masked())
				}
				book.note(node, shown)
				model[node] = shown
			case 3: // the cache shows it without any, or with what it has
				book.note(node, nil)
				book.note(node, model[node])
			default:
				checkGiven(t, book, cluster, model, former, node)
			}
		}
		for node := range model {
			book.forget(node)
		}
		for _, r := range book.ranges {
			if slices.ContainsFunc(r.used, func(n uint32) bool { return n != 0 }) {
				t.Fatalf("seed %d: shares of %s are counted though nobody has any", seed, r.cluster)
			}
		}
	}
}

// checkGiven has the book give to a node, and holds what comes to the model.
func checkGiven(t *testing.T, book *cidrBook, cluster []netip.Prefix, model, former map[string][]netip.Prefix, node string) {
	t.Helper()
	free := func(p netip.Prefix) bool {
		for _, held := range model {
			if slices.ContainsFunc(held, p.Overlaps) {
				return false
			}
		}
		return true
	}
	got, err := book.give(node)
	if have, ok := model[node]; ok {
		if err != nil || !slices.Equal(got, have) {
			t.Fatalf("%s has %v and was given %v, %v", node, have, got, err)
		}
		return
	}
	if errors.Is(err, errCIDRsExhausted) {
		if slices.ContainsFunc(book.ranges, func(r *cidrRange) bool { return noneFree(r, free) }) {
			return
		}
		t.Fatalf("%s was refused though every range has a free share", node)
	}
	if err != nil || len(got) != len(cluster) {
		t.Fatalf("%s was given %v, %v", node, got, err)
	}
	had := former[node]
	delete(former, node)
	for i, p := range got {
		if len(had) == len(cluster) && p != had[i] && fits(book, had) && free(had[0]) && free(had[1]) {
			t.Fatalf("%s came back and was given %v; it had %v, which is free", node, got, had)
		}
		if !cluster[i].Contains(p.Addr()) || p.Bits() != book.ranges[i].bits || !free(p) {
			t.Fatalf("%s was given %s, which is another's or not of %s", node, p, cluster[i])
		}
	}
	model[node] = got
}

// fits tells whether prefixes are shares as they are cut now.
func fits(book *cidrBook, had []netip.Prefix) bool {
	for i, r := range book.ranges {
		if !r.cluster.Contains(had[i].Addr()) || had[i].Bits() != r.bits {
			return false
		}
	}
	return true
}

func noneFree(r *cidrRange, free func(netip.Prefix) bool) bool {
	for slot := range r.used {
		if free(r.share(slot)) {
			return false
		}
	}
	return true
}

func TestFreedShareRestsForARound(t *testing.T) {
	book, err := newCIDRBook(cidrs("10.42.0.0/22"), 24, 64)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for i := range 6 {
		got, err := book.give(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, got[0].String())
		if i >= 1 {
			book.forget(fmt.Sprint(i))
		}
	}
	if want := []string{"10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24", "10.42.3.0/24", "10.42.1.0/24", "10.42.2.0/24"}; !slices.Equal(order, want) {
		t.Errorf("given %v, want %v", order, want)
	}
}

var cidrControllers = []build{newNodeCIDRs}

// inCIDRWorld runs body with the controller at work on cluster CIDRs.
func inCIDRWorld(t *testing.T, body func(w *world), cluster []netip.Prefix, objects ...api.Object) {
	t.Helper()
	inWorld(t, nil, func(w *world) {
		w.stop()
		w.config.ClusterCIDRs, w.config.NodeCIDRMaskSizeIPv4, w.config.NodeCIDRMaskSizeIPv6 = cluster, 24, 64
		w.start(cidrControllers...)
		w.settle(time.Second)
		body(w)
	}, objects...)
}

func given(w *world, name string) string { return fmt.Sprint(get(w, worker(name)).Spec.PodCIDRs) }

func TestNodesAreGivenTheirCIDRs(t *testing.T) {
	old := worker("old")
	old.Spec.PodCIDR, old.Spec.PodCIDRs = "10.42.0.0/24", []string{"10.42.0.0/24", "fd42::/64"}
	inCIDRWorld(t, func(w *world) {
		w.create(worker("c"))
		w.settle(time.Second)
		for name, want := range map[string]string{
			"old": "[10.42.0.0/24 fd42::/64]", "a": "[10.42.1.0/24 fd42:0:0:1::/64]", "c": "[10.42.2.0/24 fd42:0:0:2::/64]",
		} {
			if got := given(w, name); got != want || get(w, worker(name)).Spec.PodCIDR != get(w, worker(name)).Spec.PodCIDRs[0] {
				t.Errorf("%s has %s, want %s", name, got, want)
			}
		}
		// A restart changes nothing, and knows what is given.
		w.stop()
		w.start(cidrControllers...)
		w.settle(time.Second)
		w.create(worker("d"))
		w.settle(time.Second)
		if got := given(w, "a") + given(w, "c") + given(w, "d"); got != "[10.42.1.0/24 fd42:0:0:1::/64][10.42.2.0/24 fd42:0:0:2::/64][10.42.3.0/24 fd42:0:0:3::/64]" {
			t.Errorf("after a restart: %s", got)
		}
	}, cidrs("10.42.0.0/16", "fd42::/48"), worker("a"), old)
}

func TestCIDRsOfDeletedNodesAreFreed(t *testing.T) {
	inCIDRWorld(t, func(w *world) {
		freed := given(w, "a") // nodes that were there before are read in any order
		if got := []string{freed, given(w, "b")}; !slices.Contains(got, "[10.42.0.0/24]") || !slices.Contains(got, "[10.42.1.0/24]") {
			t.Fatal(got)
		}
		w.create(worker("c"))
		w.settle(time.Minute)
		if got := given(w, "c"); got != "[]" {
			t.Fatalf("a third node has %s of two", got)
		}
		w.delete(worker("a"), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		if got := given(w, "c"); got != freed {
			t.Errorf("after a node that had %s went, the one that waited has %s", freed, got)
		}
	}, cidrs("10.42.0.0/23"), worker("a"), worker("b"))
}

// TestNodeComesBack: one that was deleted by mistake registers anew within seconds, and its pods have run on.
func TestNodeComesBack(t *testing.T) {
	inCIDRWorld(t, func(w *world) {
		before := given(w, "b")
		w.delete(worker("b"), metav1.DeletePropagationBackground)
		w.settle(time.Second)
		w.create(worker("c"))
		w.settle(time.Second)
		w.create(worker("b"))
		w.settle(time.Second)
		if got := given(w, "b"); got != before || given(w, "c") == before {
			t.Errorf("it had %s and was given %s; another node has %s", before, got, given(w, "c"))
		}
	}, cidrs("10.42.0.0/16", "fd42::/48"), worker("a"), worker("b"))
}

// TestCIDRWriteFails has writes fail in every way: a node gets one prefix, and no two the same.
func TestCIDRWriteFails(t *testing.T) {
	inCIDRWorld(t, func(w *world) {
		fails := 0
		w.setFault(func(verb string, obj api.Object) error {
			if node, ok := obj.(*corev1.Node); ok && verb == "update" && len(node.Spec.PodCIDRs) > 0 {
				if fails++; fails%3 != 0 {
					return apierrors.NewServerTimeout(nodesResource.GroupResource(), "update", 1)
				}
			}
			return nil
		})
		seen := map[string]string{}
		for i := range 5 {
			w.create(worker(fmt.Sprint("n", i)))
		}
		w.settle(time.Minute)
		for i := range 5 {
			name := fmt.Sprint("n", i)
			got := given(w, name)
			if other, taken := seen[got]; taken || got == "[]" {
				t.Errorf("%s has %s, as %s", name, got, other)
			}
			seen[got] = name
		}
	}, cidrs("10.42.0.0/21"))
}

func TestWithoutClusterCIDRsNothingIsGiven(t *testing.T) {
	inCIDRWorld(t, func(w *world) {
		w.settle(time.Minute)
		if got := given(w, "a"); got != "[]" {
			t.Errorf("given %s", got)
		}
	}, nil, worker("a"))
}
