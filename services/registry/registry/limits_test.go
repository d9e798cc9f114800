package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/wire"
)

func TestLimits_AFloodUnderOnePrefixLeavesRoomForOthers(t *testing.T) {
	t.Parallel()
	l := newLimits(100, 40)
	now := time.Now()
	taken := func(name string, requests int) (n int) {
		for range requests {
			if ok, _ := l.allow(name, now); ok {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		name           string
		requests, want int
	}{
		{"noisy-1", 1000, 40},
		{"noisy-2", 1000, 0}, // the same prefix
		{"noisy_3", 1000, 0},
		{"quiet-1", 30, 30},
		{"", 10, 10},       // list and the like
		{"lonely", 20, 20}, // 100 in all
		{"late", 10, 0},
	} {
		if got := taken(tt.name, tt.requests); got != tt.want {
			t.Errorf("%q: %d of %d requests taken, want %d", tt.name, got, tt.requests, tt.want)
		}
	}
	now = now.Add(time.Second)
	if got := taken("late", 50); got != 40 {
		t.Errorf("a second later %d were taken, want 40", got)
	}
}

func TestLimits_NamesThatAreMadeUpTakeBoundedMemory(t *testing.T) {
	t.Parallel()
	l := newLimits(1_000_000, 10)
	now := time.Now()
	for i := range 10 * maxPrefixes {
		l.allow(fmt.Sprint("x", i), now)
	}
	if n := len(l.prefixes); n > maxPrefixes+1 {
		t.Errorf("%d prefixes are remembered, want at most %d", n, maxPrefixes+1)
	}
	l.allow("y", now.Add(2*forgetAfter))
	if n := len(l.prefixes); n != 1 {
		t.Errorf("%d prefixes are remembered long after, want 1", n)
	}
}

func TestPrefixOf_EndsBeforeTheFirstDashOrUnderscore(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"": "", "triage": "triage", "team-a-x": "team", "team_a-x": "team", "-x": "-x", "_": "_", "a-": "a",
	} {
		if got := prefixOf(name); got != want {
			t.Errorf("prefixOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestRejections_OfOneKindAreToldOnceASecond(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		var told []wire.Advisory
		r := newRejections(func(_ string, a wire.Advisory) { told = append(told, a) })
		badField, tooMany := wire.Errorf(wire.CodeBadField, "x"), wire.Errorf(wire.CodeTooMany, "x")
		for range 1000 {
			r.add("subscribe", "a", badField)
			r.add("subscribe", "b", badField)
			r.add("subscribe", "a", tooMany)
		}
		if len(told) != 2 {
			t.Errorf("%d advisories at once, want 2: the first of each kind", len(told))
		}
		r.flush()
		if len(told) != 4 || told[2].Data["times"] != 999 || told[3].Data["times"] != 999 {
			t.Errorf("after a second: %+v, want two more, of 999 each", told)
		}
		r.flush()
		if len(told) != 4 {
			t.Errorf("%d advisories although nothing came since, want 4", len(told))
		}
		for i := range 10 * maxRejections {
			r.add("subscribe", fmt.Sprint("n", i), badField)
		}
		r.flush()
		if n := len(told) - 4; n > maxRejections+2 {
			t.Errorf("%d advisories of as many names as there are requests, want at most %d", n, maxRejections+2)
		}
	})
}

// A flood of bad requests that ask for no answer leaves few advisories behind,
// and one of another team is served meanwhile.
func TestFlood_WithoutReplyFillsNoStreamAndStopsNobody(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *Config) { c.MaxRequestsPerSecond = 500 })
	const n = 5000
	for i := range n {
		if err := e.nc.Publish(ns.API(wire.VerbSubscribe, "noisy-x"), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		if i%1000 == 0 {
			e.subscribe(fmt.Sprint("quiet-", i), body())
		}
	}
	if err := e.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var stream jetstream.Stream
	natstest.Await(t, "the first advisory", func() (err error) {
		if stream, err = e.js.Stream(t.Context(), ns.StreamAdvisories()); err != nil {
			return err
		}
		_, err = stream.GetLastMsgForSubject(t.Context(), ns.Advisory(wire.AdvSubscriptionRejected, "noisy-x"))
		return err
	})
	e.subscribe("quiet-last", body()) // behind all of the flood
	info, err := stream.Info(t.Context(), jetstream.WithSubjectFilter("*.v1.advisory.subscription.rejected.>"))
	if err != nil {
		t.Fatal(err)
	}
	var stored uint64
	for _, count := range info.State.Subjects {
		stored += count
	}
	if stored > 60 { // two a second at most, on a machine that takes its time
		t.Errorf("%d refused requests left %d advisories", n, stored)
	}
}

func TestLimits_ARefusalByThePrefixSaysSo(t *testing.T) {
	t.Parallel()
	e := newEnv(t, func(c *Config) { c.MaxRequestsPerSecond, c.MaxRequestsPerPrefix = 1_000_000, 1 })
	var refused *wire.Error
	for range 20 {
		msg := e.ask(wire.VerbGet, "team-x", "")
		var head wire.Head
		if err := json.Unmarshal(msg.Data, &head); err != nil {
			t.Fatal(err)
		}
		if head.Error != nil && head.Error.ErrCode == wire.CodeTooMany {
			refused = head.Error
		}
	}
	if refused == nil || !strings.Contains(refused.Description, `"team"`) || *refused.Limit != 1 {
		t.Errorf("refused with %+v, want an error that names the prefix and its limit", refused)
	}
}
