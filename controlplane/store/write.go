package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// Create writes obj where nothing stood.
func (s *Store) Create(ctx context.Context, r *Resource, obj runtime.Object) (runtime.Object, error) {
	t, err := s.table(r)
	if err != nil {
		return nil, err
	}
	obj = obj.DeepCopyObject()
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if m.GetResourceVersion() != "" {
		return nil, apierrors.NewBadRequest("an object to be created must not have a resourceVersion")
	}
	key, err := objectKey(r, m.GetNamespace(), m.GetName())
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	value, err := encodeBounded(r, obj)
	if err != nil {
		return nil, err
	}
	revision, won, err := s.commit(ctx, t.prefix()+key, 0, clientv3.OpPut(t.prefix()+key, string(value)))
	if err != nil {
		return nil, s.failed("create "+r.GVR.GroupResource().String(), err)
	}
	if !won {
		return nil, apierrors.NewAlreadyExists(r.GVR.GroupResource(), m.GetName())
	}
	m.SetResourceVersion(formatRevision(revision))
	obj.GetObjectKind().SetGroupVersionKind(r.GVK)
	return obj, nil
}

// commit does one operation if the key's state is still the one of the guard (0: the key does not exist). It answers
// the revision of the transaction, or, when it lost, one at which another's write can be seen.
func (s *Store) commit(ctx context.Context, etcdKey string, guard int64, op clientv3.Op) (revision int64, won bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	resp, err := s.backend.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(etcdKey), "=", guard)).Then(op).Commit()
	if err != nil {
		return 0, false, err
	}
	return resp.Header.Revision, resp.Succeeded, nil
}

// attempt is one computation of an update, on one state.
type attempt struct {
	table   *table
	key     string
	current *Entry
	next    runtime.Object // the store's own copy
	value   []byte
	verdict Verdict
}

// Update runs fn on the current state and writes its answer.
// The first try reads the cache as it is, since the transaction's guard tells soon enough whether that was current;
// anything that would end the update without such a guard is only believed of a state that is known to be fresh.
func (s *Store) Update(ctx context.Context, r *Resource, namespace, name string, pre Preconditions, fn UpdateFunc) (runtime.Object, bool, error) {
	t, err := s.table(r)
	if err != nil {
		return nil, false, err
	}
	key, err := objectKey(r, namespace, name)
	if err != nil {
		return nil, false, apierrors.NewBadRequest(err.Error())
	}
	fresh := false
	for range maxUpdateTries {
		a, err := s.attempt(t, key, pre, fn)
		if (err != nil || a.verdict == Keep) && !fresh {
			if err := s.fresh(ctx); err != nil {
				return nil, false, err
			}
			fresh = true
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if a.verdict == Keep {
			return a.current.Copy(), false, nil
		}
		obj, lost, err := s.settle(ctx, a)
		if err != nil {
			return nil, false, err
		}
		if lost == 0 {
			return obj, a.verdict == Remove, nil
		}
		if err := s.cache.wait(ctx, lost, requestTimeout, s.askProgress); err != nil {
			return nil, false, err
		}
		fresh = true // as of the moment the race was lost
	}
	return nil, false, apierrors.NewConflict(r.GVR.GroupResource(), name,
		fmt.Errorf("the object changed %d times while it was being updated", maxUpdateTries))
}

// attempt computes the next state of what the cache holds. A Put that would change nothing becomes a Keep.
func (s *Store) attempt(t *table, key string, pre Preconditions, fn UpdateFunc) (attempt, error) {
	a := attempt{table: t, key: key}
	var err error
	if a.current, err = s.cached(t, key); err != nil {
		return a, err
	}
	if err := pre.check(a.current); err != nil {
		return a, err
	}
	next, verdict, err := fn(a.current.Copy())
	if err != nil || verdict == Keep {
		return a, err
	}
	a.verdict = verdict
	if next == nil {
		if verdict == Put {
			return a, apierrors.NewInternalError(errors.New("an update gave nothing to write"))
		}
		return a, nil
	}
	a.next = next.DeepCopyObject()
	if err := checkNames(a.next, a.current.Namespace, a.current.Name); err != nil {
		return a, apierrors.NewBadRequest(fmt.Sprintf("update %s %q: %v", t.resource.GVR.GroupResource(), key, err))
	}
	if a.value, err = encodeBounded(t.resource, a.next); err != nil {
		return a, err
	}
	if verdict == Put && bytes.Equal(a.value, a.current.value()) {
		a.verdict = Keep
	}
	return a, nil
}

// settle writes an attempt's answer. lost, when not 0, is a revision at which the write that won can be seen.
func (s *Store) settle(ctx context.Context, a attempt) (obj runtime.Object, lost int64, err error) {
	etcdKey, guard := a.table.prefix()+a.key, a.current.Revision
	if a.verdict == Remove {
		return s.settleRemove(ctx, a, etcdKey, guard)
	}
	revision, won, err := s.commit(ctx, etcdKey, guard, clientv3.OpPut(etcdKey, string(a.value)))
	if err != nil {
		return nil, 0, s.failed("update "+a.table.resource.GVR.GroupResource().String(), err)
	}
	if !won {
		return nil, revision, nil
	}
	return stamp(a.table.resource, a.next, revision), 0, nil
}

func (s *Store) settleRemove(ctx context.Context, a attempt, etcdKey string, guard int64) (obj runtime.Object, lost int64, err error) {
	r := a.table.resource
	farewell := farewellKey{tablePath(r), a.key, guard}
	held := false
	if obj = a.next; obj == nil {
		obj = a.current.Copy()
	} else if !bytes.Equal(a.value, a.current.value()) {
		last, err := newEntry(r, a.key, a.value, guard)
		if err != nil {
			return nil, 0, apierrors.NewInternalError(err)
		}
		held = s.farewells.hold(farewell, last)
	}
	revision, won, err := s.commit(ctx, etcdKey, guard, clientv3.OpDelete(etcdKey))
	if err != nil || !won {
		if held {
			s.farewells.drop(farewell)
		}
		return nil, revision, s.failed("delete "+r.GVR.GroupResource().String(), err)
	}
	if held {
		s.farewells.release(farewell, revision)
	}
	return stamp(r, obj, revision), 0, nil
}

func stamp(r *Resource, obj runtime.Object, revision int64) runtime.Object {
	if m, err := meta.Accessor(obj); err == nil { // it was read as such before
		m.SetResourceVersion(formatRevision(revision))
	}
	obj.GetObjectKind().SetGroupVersionKind(r.GVK)
	return obj
}

func encodeBounded(r *Resource, obj runtime.Object) ([]byte, error) {
	value, err := encode(r, obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if len(value) > maxObjectBytes {
		return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
			"the object takes %d bytes; at most %d can be stored", len(value), maxObjectBytes))
	}
	return value, nil
}

func (p *Preconditions) check(e *Entry) error {
	r := e.resource
	if p.UID != nil {
		m, err := meta.Accessor(e.Object())
		if err != nil {
			return apierrors.NewInternalError(err)
		}
		if m.GetUID() != *p.UID {
			return apierrors.NewConflict(r.GVR.GroupResource(), e.Name, fmt.Errorf("its uid is %s, not %s", m.GetUID(), *p.UID))
		}
	}
	if p.Revision != nil && *p.Revision != e.Revision {
		return apierrors.NewConflict(r.GVR.GroupResource(), e.Name,
			fmt.Errorf("its resource version is %d, not %d", e.Revision, *p.Revision))
	}
	return nil
}
