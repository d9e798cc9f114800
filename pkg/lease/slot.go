package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/wire"
)

// slot is the key of a role's lease as one candidate sees it. It is used by
// one goroutine.
type slot struct {
	kv       Bucket
	key      string
	role     string
	instance string
	ttl      time.Duration

	lease  wire.Lease // ours, after acquire
	rev    uint64     // the revision of our last confirmed write
	unsure bool       // a write may or may not have happened since
}

// held is what lies under the key; rev 0 is nothing.
type held struct {
	lease wire.Lease
	rev   uint64
}

// read reads the key. An entry that cannot be decoded, or cannot be true, is
// somebody else's lease like any other: it stands until it is not renewed for a
// TTL.
func (s *slot) read(ctx context.Context) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout(s.ttl))
	defer cancel()
	e, err := s.kv.Get(ctx, s.key)
	switch {
	case isGone(err):
		return held{}, nil
	case err != nil:
		return held{}, fmt.Errorf("read %s: %w", s.key, err)
	}
	return decodeLease(s.role, e.Revision(), e.Value()), nil
}

// decodeLease reads the lease of a role. Its epoch is a revision of the bucket, so
// a higher one than its own cannot be true.
func decodeLease(role string, rev uint64, value []byte) held {
	h := held{rev: rev}
	if json.Unmarshal(value, &h.lease) != nil || h.lease.Role != role || h.lease.Epoch > rev {
		h.lease = wire.Lease{}
	}
	return h
}

// acquire takes the key over revision rev (0: there is none). The revision of
// that first write is the epoch, since a bucket's revisions only grow, also
// over keys that have expired. A second write tells it to everybody; the term
// counts from it. Until then the entry has epoch 0: nobody leads.
func (s *slot) acquire(ctx context.Context, rev uint64) (term, error) {
	s.lease = wire.Lease{Role: s.role, Instance: s.instance, Since: time.Now().UTC()}
	epoch, err := s.write(ctx, rev)
	if err != nil {
		return term{}, fmt.Errorf("claim %s: %w", s.key, err)
	}
	s.lease.Epoch = epoch
	sent := time.Now()
	s.rev, err = s.write(ctx, epoch)
	if err != nil {
		return term{}, fmt.Errorf("claim %s under epoch %d: %w", s.key, epoch, err)
	}
	s.unsure = false
	return newTerm(sent, s.ttl), nil
}

// write puts our lease over revision rev, within a call's time.
func (s *slot) write(ctx context.Context, rev uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout(s.ttl))
	defer cancel()
	body, err := wire.Marshal(s.lease)
	if err != nil {
		return 0, fmt.Errorf("encode lease: %w", err)
	}
	if rev == 0 {
		return s.kv.Create(ctx, s.key, body)
	}
	return s.kv.Update(ctx, s.key, body, rev)
}

// renew writes the lease once, within a timeout for it and for the read before
// it, and returns when it sent that write. It reads first, even where it knows what
// lies there: a leader that hears no answers must not keep a lease fresh that it
// cannot trust itself. It returns an error that is ErrLost where the key is no
// longer ours.
func (s *slot) renew(ctx context.Context, timeout time.Duration) (sent time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := s.reread(ctx); err != nil {
		return sent, err
	}
	sent = time.Now()
	rev, err := s.write(ctx, s.rev)
	if err == nil {
		s.rev = rev
		return sent, nil
	}
	s.unsure = true
	if bucket.Conflict(err) { // an earlier write of ours came through, or it is not ours any more
		if err := s.reread(ctx); err != nil {
			return sent, err
		}
	}
	return sent, fmt.Errorf("renew %s at revision %d: %w", s.key, s.rev, err)
}

// reread finds out whether the key is still ours, and at which revision. A read
// may be older than our last write: it says nothing unless that write is in
// doubt, or it shows a later one.
func (s *slot) reread(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout(s.ttl))
	defer cancel()
	h, err := s.read(ctx)
	switch {
	case err != nil:
		return err
	case !s.unsure && h.rev <= s.rev:
		return nil
	}
	if err := s.ours(h); err != nil {
		return err
	}
	s.rev, s.unsure = h.rev, false
	return nil
}

// ours returns an error that is ErrLost where what lies there is not our lease.
func (s *slot) ours(h held) error {
	switch {
	case h.rev == 0:
		return fmt.Errorf("%w: the key is gone", ErrLost)
	case h.lease.Instance != s.instance || h.lease.Epoch != s.lease.Epoch:
		return fmt.Errorf("%w: to %s, epoch %d", ErrLost, h.lease.Instance, h.lease.Epoch)
	}
	return nil
}

// release deletes the key if it is still ours and can be reached.
func (s *slot) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout(s.ttl))
	defer cancel()
	_, err := bucket.Change(ctx, s.kv, s.key, func(now bucket.Seen) (*bucket.Write, error) {
		var h held
		if now.Entry != nil {
			h = decodeLease(s.role, now.Revision, now.Entry.Value())
		}
		return &bucket.Write{Delete: true}, s.ours(h)
	})
	if err != nil {
		return fmt.Errorf("release %s: %w", s.key, err)
	}
	return nil
}
