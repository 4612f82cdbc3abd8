package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/petrelrun/petrel/lab"
)

func newLabStatusCommand(o *labOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what a lab's nodes are and what runs on them",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return o.status() },
	}
	o.add(cmd)
	return cmd
}

// labStatus is what `petrel lab status --output json` prints.
type labStatus struct {
	Running    bool        `json:"running"`
	API        string      `json:"api,omitempty"`
	Gateway    string      `json:"gateway,omitempty"`
	Kubeconfig string      `json:"kubeconfig,omitempty"`
	Nodes      []labMember `json:"nodes"`
}

type labMember struct {
	Name      string             `json:"name"`
	Link      int                `json:"link"`
	Addresses []netip.Addr       `json:"addresses"`
	Processes []lab.ProcessState `json:"processes"`
	// Count is of every process on the node, runners too.
	Count int `json:"count"`
}

func (o *labOptions) status() error {
	s, err := o.read()
	if err != nil {
		return err
	}
	out := labStatus{Running: s.Alive(), API: s.API, Gateway: s.Gateway, Kubeconfig: s.Kubeconfig, Nodes: []labMember{}}
	for _, n := range s.Nodes {
		m := labMember{Name: n.Name, Link: n.Link, Addresses: n.Addresses, Processes: slices.Clone(n.Processes), Count: len(n.Place.Processes())}
		for i := range m.Processes {
			m.Processes[i].Running = m.Processes[i].Running && out.Running
		}
		out.Nodes = append(out.Nodes, m)
	}
	if o.json() {
		return writeJSON(o.Out, out)
	}
	return o.table(&out)
}

func (o *labOptions) table(s *labStatus) error {
	if !s.Running {
		fmt.Fprintln(o.Out, "the lab is not running: it was killed; petrel lab down removes what it left")
	} else {
		fmt.Fprintf(o.Out, "API %s, KUBECONFIG=%s\n", s.API, s.Kubeconfig)
	}
	w := tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tLINK\tADDRESSES\tPROCESSES\tALL")
	for _, n := range s.Nodes {
		var addresses, processes []string
		for _, a := range n.Addresses {
			addresses = append(addresses, a.String())
		}
		for _, p := range n.Processes {
			state := "ended"
			if p.Running {
				state = fmt.Sprint(p.PID)
			}
			processes = append(processes, p.Name+" "+state)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\n", n.Name, n.Link, strings.Join(addresses, ","), strings.Join(processes, ", "), n.Count)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}
