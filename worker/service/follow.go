package service

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/petrelrun/petrel/worker/service/feed"
)

// tellHealth serves the proxy's health. That nobody can ask for it ends nothing.
func (s *Server) tellHealth(ctx context.Context) {
	for ctx.Err() == nil {
		if err := s.health.Serve(ctx, s.cfg.HealthzListen); err != nil {
			s.cfg.Logger.Error("the proxy's health is not told", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetryMax):
		}
	}
}

// followNode learns which zone the node is in, and whether it is to stay. A node that is not known yet is in none.
func (s *Server) followNode(ctx context.Context) {
	feed.New(s.cfg.Client, s.cfg.Client.CoreV1().Nodes(), &corev1.Node{}, "metadata.name="+s.cfg.NodeName, feed.Handler[*corev1.Node]{
		Set: func(n *corev1.Node) {
			if n.Name == s.cfg.NodeName {
				s.eligible.Store(isEligible(n))
				s.place(func(string) string { return n.Labels[corev1.LabelTopologyZone] })
			}
		},
		Gone: func(k feed.Key) {
			if k.Name == s.cfg.NodeName {
				s.eligible.Store(false)
			}
		},
		Synced: func() { s.place(func(was string) string { return was }) },
	}).Run(ctx)
}

// place has everything chosen anew when the node's place has come to be known, or is another.
func (s *Server) place(zone func(was string) string) {
	if s.state.setPlace(zone) {
		s.catalog.Retell(s.state)
	}
}

// keepSaved writes the table to disk a while after it changed.
func (s *Server) keepSaved(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.state.dirty:
		}
		select { // gather what comes together
		case <-ctx.Done():
		case <-time.After(saveDelay):
		}
		if err := s.state.save(s.cfg.StateFile); err != nil {
			s.cfg.Logger.Error("service table was not saved", "error", err)
		}
	}
}
