package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/wire"
)

// errAbsent is returned for entries that are not there.
var errAbsent = errors.New("there is none")

// Pool reads the pool entry of a subscription as it lies in its bucket.
func (e *Env) Pool(name string) (*wire.Pool, error) {
	var p wire.Pool
	if err := e.entry(wire.DefaultNamespace.BucketPools(), name, &p); err != nil {
		return nil, fmt.Errorf("pool %q: %w", name, err)
	}
	return &p, nil
}

// Lease reads the leader lease of a role.
func (e *Env) Lease(role string) (*wire.Lease, error) {
	var l wire.Lease
	if err := e.entry(wire.DefaultNamespace.BucketSessions(), wire.LeaderKey(role), &l); err != nil {
		return nil, fmt.Errorf("leader %q: %w", role, err)
	}
	return &l, nil
}

func (e *Env) entry(bucket, key string, into any) error {
	ctx, cancel := context.WithTimeout(e.T.Context(), 5*time.Second)
	defer cancel()
	kv, err := e.JS.KeyValue(ctx, bucket)
	if err != nil {
		return err
	}
	entry, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(entry.Value(), into)
}

// AwaitPool waits until the pool entry of a subscription is as ok wants it. Ok
// returns what is wrong.
func (e *Env) AwaitPool(name, what string, ok func(*wire.Pool) error) *wire.Pool {
	e.T.Helper()
	var p *wire.Pool
	e.Await(fmt.Sprintf("pool %q: %s", name, what), func() (err error) {
		if p, err = e.Pool(name); err != nil {
			return err
		}
		if err := ok(p); err != nil {
			return fmt.Errorf("%w; it is %+v", err, *p)
		}
		return nil
	})
	return p
}

// AwaitNoPool waits until a subscription has no pool entry.
func (e *Env) AwaitNoPool(name string) {
	e.T.Helper()
	e.Await("the end of pool "+name, func() error {
		p, err := e.Pool(name)
		switch {
		case errors.Is(err, errAbsent):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("it is there: %+v", *p)
	})
}

// AwaitOwned waits until a pool is owned by one of instances, or by anybody
// where none is given.
func (e *Env) AwaitOwned(name string, instances ...string) *wire.Pool {
	e.T.Helper()
	return e.AwaitPool(name, fmt.Sprintf("owned by one of %v", instances), func(p *wire.Pool) error {
		if p.Owner == "" || len(instances) > 0 && !slices.Contains(instances, p.Owner) {
			return fmt.Errorf("its owner is %q", p.Owner)
		}
		return nil
	})
}

// AwaitFloor waits until a pool's checkpoint has nothing unfinished up to seq.
func (e *Env) AwaitFloor(name string, seq uint64) *wire.Pool {
	e.T.Helper()
	return e.AwaitPool(name, fmt.Sprintf("finished up to %d", seq), func(p *wire.Pool) error {
		if p.Checkpoint.Floor < seq {
			return fmt.Errorf("its floor is %d", p.Checkpoint.Floor)
		}
		return nil
	})
}

// Sessions returns the instances of a service that have a session.
func (e *Env) Sessions(svc string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(e.T.Context(), 5*time.Second)
	defer cancel()
	kv, err := e.JS.KeyValue(ctx, wire.DefaultNamespace.BucketSessions())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return map[string]bool{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	lister, err := kv.ListKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("sessions: %w", err)
	}
	found := make(map[string]bool)
	for key := range lister.Keys() {
		if instance, ok := strings.CutPrefix(key, svc+"."); ok {
			found[instance] = true
		}
	}
	return found, nil
}

// AwaitLease waits until a role has a leader under a later epoch.
func (e *Env) AwaitLease(role string, after uint64) *wire.Lease {
	e.T.Helper()
	var l *wire.Lease
	e.Await("a leader of "+role, func() (err error) {
		if l, err = e.Lease(role); err != nil {
			return err
		}
		if l.Epoch <= after {
			return fmt.Errorf("its epoch is still %d", l.Epoch)
		}
		return nil
	})
	return l
}

// Reconciled reads the revision up to which the replayer has reconciled.
func (e *Env) Reconciled() (uint64, error) {
	var position struct {
		Revision uint64 `json:"revision"`
	}
	err := e.entry(wire.DefaultNamespace.BucketReplays(), wire.ReconciledKey, &position)
	return position.Revision, err
}

// PutPool creates a pool entry behind everybody's back.
func (e *Env) PutPool(p wire.Pool) {
	e.T.Helper()
	body, err := json.Marshal(p)
	if err != nil {
		e.T.Fatal(err)
	}
	kv, err := e.JS.KeyValue(e.Context(), wire.DefaultNamespace.BucketPools())
	if err == nil {
		_, err = kv.Create(e.Context(), p.Name, body)
	}
	if err != nil {
		e.T.Fatalf("create pool entry %s: %v", p.Name, err)
	}
}
