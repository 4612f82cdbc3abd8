package store

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// etcd reuses what compaction frees, but its file, which is what the quota counts, only shrinks when it is written
	// anew. That stops etcd for as long as it takes, so it is done when the file has fullShare of the quota (in
	// percent) and at most usedShare of the file is in use, or when the quota has already stopped the writers.
	fullShare = 80
	usedShare = 50
)

// relieve gives an embedded etcd's space back and lets writers go on after the quota stopped them. Nobody else can:
// nothing but this process reaches it. An external etcd is its owner's.
func (s *Store) relieve(ctx context.Context) error {
	server := s.backend.server
	if server == nil {
		return nil
	}
	var stopped []*pb.AlarmMember
	for _, alarm := range server.Alarms() {
		if alarm.Alarm == pb.AlarmType_NOSPACE { // others tell of damage, and must stay
			stopped = append(stopped, alarm)
		}
	}
	store := server.Backend()
	before := store.Size()
	full := before*100 >= s.cfg.QuotaBytes*fullShare && store.SizeInUse()*100 <= before*usedShare
	if len(stopped) == 0 && !full {
		return nil
	}
	if err := store.Defrag(); err != nil {
		return fmt.Errorf("defragment etcd: %w", err)
	}
	after := store.Size()
	s.log.Info("gave etcd's free space back", "before", before, "after", after, "quota", s.cfg.QuotaBytes)
	if len(stopped) > 0 && after*100 >= s.cfg.QuotaBytes*fullShare {
		s.log.Error("etcd's quota is used up: only deletions are served", "size", after, "quota", s.cfg.QuotaBytes)
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for _, alarm := range stopped {
		if _, err := s.backend.client.AlarmDisarm(ctx, (*clientv3.AlarmMember)(alarm)); err != nil {
			return fmt.Errorf("disarm etcd's alarm: %w", err)
		}
	}
	return nil
}
