package lease

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestPeerIsJudgedByWhatIsKnownOfIt(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(d time.Duration) time.Time { return start.Add(d) }
	// seen is a peer that was seen renewed at the start, at revision 50.
	seen := func(change func(*peer)) peer {
		p := peer{session: wire.Session{Instance: "e1"}, rev: 50, seenAt: start}
		change(&p)
		return p
	}
	for _, tt := range []struct {
		name  string
		p     peer
		now   time.Duration
		calm  time.Duration
		lapse bool // whether the key was read then and found absent or not renewed
		want  bool
	}{
		{"renewed", seen(func(*peer) {}), 0, 0, false, true},
		{"silent for a TTL, and the key is gone", seen(func(*peer) {}), ttl, 0, true, false},
		{"the same, but we were cut off a moment ago", seen(func(*peer) {}), ttl, ttl + time.Second, true, true},
		{"the same, and all is calm again", seen(func(*peer) {}), ttl + time.Second, ttl + time.Second, true, false},
		{"the key is gone, but a probe was answered", seen(func(p *peer) { p.probed(true, 50, at(ttl-time.Second), start) }), ttl, 0, true, true},
		{"the key is gone, a probe was answered long ago", seen(func(p *peer) { p.probed(true, 50, at(ttl/2), start) }), ttl, 0, true, false},
		{"it answers on, but never renews", seen(func(p *peer) { p.probed(true, 50, at(ttl*3/2-time.Second), start) }), ttl * 3 / 2, 0, true, false},
		{"the same, counted from when we could tell", seen(func(p *peer) { p.probed(true, 50, at(3*ttl), start) }), 3*ttl + ttl/2 - 1, 3 * ttl, true, true},
		{"its answer came to a probe of an older revision", seen(func(p *peer) { p.probed(true, 49, at(ttl-time.Second), start) }), ttl, 0, true, true},
		{"nobody found, twice", seen(func(p *peer) { p.probed(false, 50, at(1), start); p.probed(false, 50, at(2), start) }), 3, 0, false, false},
		{"nobody found, twice, while we were cut off", seen(func(p *peer) { p.probed(false, 50, at(1), at(9)); p.probed(false, 50, at(2), at(9)) }), 3, 0, false, true},
		{"nobody found, once at an older revision", seen(func(p *peer) { p.probed(false, 50, at(1), start); p.probed(false, 49, at(2), start) }), 3, 0, false, true},
		{"its tombstone", seen(func(p *peer) { p.ends(51) }), 1, 0, false, false},
		{"a tombstone from before", seen(func(p *peer) { p.ends(49) }), 1, 0, false, true},
		{"the bucket is made anew", seen(func(p *peer) { p.uproot() }), 1, 0, false, true},
		{"the bucket is made anew, and it stays silent", seen(func(p *peer) { p.uproot() }), ttl, 0, true, false},
		{"dead, and renewed in a bucket made anew", seen(func(p *peer) { p.ends(51); p.uproot(); p.renewed(p.session, 1, at(1)) }), 2, 0, false, true},
		{"dead, and an old revision seen once more", seen(func(p *peer) { p.ends(51); p.renewed(p.session, 50, at(1)) }), 2, 0, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := tt.p
			if tt.lapse {
				if !p.silent(at(tt.now), ttl) {
					t.Fatal("its key would not be read yet")
				}
				p.lapsed = p.lapses(at(tt.now), at(tt.calm), ttl)
			}
			if got := p.alive(); got != tt.want {
				t.Errorf("alive = %v, want %v", got, tt.want)
			}
		})
	}
}

// world is a bucket, instances that renew their sessions in it and answer
// probes, and one instance that watches and judges another.
type world struct {
	now     time.Time
	rev     uint64    // of the bucket
	key     uint64    // revision of the session; 0: absent
	keyAt   time.Time // when it was written
	away    bool      // NATS is, for everybody
	back    time.Time // when the peer is connected again
	renewAt time.Time // when the peer renews next
	killed  time.Time // zero: it runs
	calm    time.Time // of the watcher
	p       peer
}

const tick = defaultProbeEvery

// step lets a tick pass.
func (w *world) step() {
	w.now = w.now.Add(tick)
	if w.away {
		return
	}
	if w.key != 0 && w.now.Sub(w.keyAt) >= ttl {
		w.key = 0 // expired
	}
	runs := w.killed.IsZero()
	connected := runs && !w.now.Before(w.back)
	if connected && !w.now.Before(w.renewAt) {
		w.rev++
		w.key, w.keyAt, w.renewAt = w.rev, w.now, w.now.Add(ttl/renewPart)
	}
	if w.key != 0 {
		w.p.renewed(wire.Session{Instance: "e1"}, w.key, w.keyAt)
	}
	if w.p.alive() {
		w.p.probed(connected, w.p.rev, w.now, w.calm)
	}
	if w.p.silent(w.now, ttl) && w.key <= w.p.rev {
		w.p.lapsed = w.p.lapses(w.now, w.calm, ttl)
	}
}

func TestNoPeerThatRunsIsTakenForDeadAndEveryOtherIs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		w := &world{now: now, renewAt: now, back: now}
		w.step()
		ticks := func(what string, longest time.Duration) int {
			return rapid.IntRange(1, int(longest/tick)).Draw(t, what)
		}
		pass := func(n int) {
			for range n {
				w.step()
				if w.killed.IsZero() && !w.p.alive() {
					t.Fatalf("a peer that runs is taken for dead: %+v", w.p)
				}
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "faults") {
			pass(ticks("quiet", 2*ttl))
			switch rapid.SampledFrom([]string{"outage", "bucket made anew", "both"}).Draw(t, "fault") {
			case "outage":
				w.outage(ticks("outage", 3*ttl), ticks("comes back", settleTime-tick))
			case "bucket made anew":
				w.anew()
			case "both":
				w.outage(ticks("outage", 3*ttl), ticks("comes back", settleTime-tick))
				w.anew()
			}
		}
		pass(ticks("quiet", ttl))
		w.killed = w.now
		for range int((ttl + ttl/2 + settleTime) / tick) {
			w.step()
		}
		if w.p.alive() {
			t.Fatalf("a peer that was killed %v ago is taken for alive: %+v", w.now.Sub(w.killed), w.p)
		}
	})
}

// outage takes NATS away; the peer is connected again a little after the watcher.
func (w *world) outage(ticks, later int) {
	w.away = true
	for range ticks {
		w.step()
	}
	w.away = false
	w.back = w.now.Add(time.Duration(later) * tick)
	w.calm = w.now.Add(settle(ttl))
}

// anew makes the bucket another one, which the watcher is told.
func (w *world) anew() {
	w.rev, w.key = 0, 0
	w.p.uproot()
	w.calm = w.now.Add(settle(ttl))
}
