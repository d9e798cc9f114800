package lease

import (
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// peer is what is known of one session. Its methods decide, from what was seen
// and when, by this process's clock; they ask nobody.
type peer struct {
	session wire.Session
	rev     uint64    // 0: the bucket does not have it, as far as was seen
	seenAt  time.Time // when it was last seen renewed
	foundAt time.Time // when a probe was last answered
	misses  int       // probes in a row that found nobody, since the renewal
	lapsed  bool      // not renewed for a TTL, and nothing speaks for it
	ended   bool      // its tombstone was seen
}

func (p *peer) alive() bool { return !p.lapsed && !p.ended && p.misses < deadAfter }

// renewed takes over a session as seen at revision rev. It reports whether that
// was news: a revision that is not above the last one known says nothing.
func (p *peer) renewed(session wire.Session, rev uint64, now time.Time) bool {
	if rev <= p.rev {
		return false
	}
	*p = peer{session: session, rev: rev, seenAt: now, foundAt: p.foundAt}
	return true
}

// ends takes over the tombstone at revision rev.
func (p *peer) ends(rev uint64) {
	if rev >= p.rev {
		p.rev, p.ended = rev, true
	}
}

// uproot forgets the revision, since the bucket was made anew: its revisions
// start over, and whatever it says next is news. Who lived still does until it
// has been silent for a TTL.
func (p *peer) uproot() { p.rev = 0 }

// probed takes over the outcome of a probe that was sent when the session was at
// revision rev. That nobody was found proves something only about that revision,
// and only once calm has come.
func (p *peer) probed(found bool, rev uint64, now, calm time.Time) {
	switch {
	case found:
		p.foundAt = now
		if rev == p.rev {
			p.misses = 0
		}
	case rev == p.rev && !now.Before(calm):
		p.misses++
	}
}

// silent reports whether it is time to read the session's key: it was not seen
// renewed for a TTL.
func (p *peer) silent(now time.Time, ttl time.Duration) bool {
	return p.alive() && now.Sub(p.seenAt) >= ttl
}

// lapses reports whether an instance that is silent, and whose key the bucket
// does not have renewed either, is dead. Before calm it is not: we were cut off
// ourselves, so the others may have been too. An instance that answers probes
// gets half a TTL more to renew its session, from when we could tell.
func (p *peer) lapses(now, calm time.Time, ttl time.Duration) bool {
	if now.Before(calm) {
		return false
	}
	due := p.seenAt.Add(ttl)
	if due.Before(calm) {
		due = calm
	}
	answers := !p.foundAt.IsZero() && now.Sub(p.foundAt) < ttl/2
	return !answers || now.Sub(due) >= ttl/2
}

// stale reports whether the instance has been dead for so long that it need not
// be known any more: each start of a process has a name of its own.
func (p *peer) stale(now time.Time, ttl time.Duration) bool {
	return !p.alive() && now.Sub(p.seenAt) >= 10*ttl
}

// sameSession reports whether a and b differ in load only.
func sameSession(a, b wire.Session) bool {
	return a.StartedAt.Equal(b.StartedAt) && a.Version == b.Version && a.Draining == b.Draining
}
