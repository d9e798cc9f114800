package hostile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

const issueOfEphemeral = "issue." + wire.IssueStale + ".ephemeral"

// notes are entries that the services make for themselves, each with the key that
// it lies under.
func notes() []struct {
	entry
	bucket, key string
} {
	sessions, health, replays := ns.BucketSessions(), ns.BucketHealth(), ns.BucketReplays()
	return []struct {
		entry
		bucket, key string
	}{
		{entry{"a lease at the end of numbers", set(most, "epoch")}, sessions, wire.LeaderKey("healthmon")},
		{entry{"a lease from the future", set(uint64(1)<<52, "epoch")}, sessions, wire.LeaderKey("replayer")},
		{entry{"a lease of a wildcard", set("*", "instance")}, sessions, wire.LeaderKey("healthmon")},
		{entry{"a lease for 300 years", set(muchLater, "since")}, sessions, wire.LeaderKey("replayer")},
		{entry{"an issue since ever", set(never, "issue", "since")}, health, issueOfEphemeral},
		{entry{"an issue since before there were computers", set(longAgo, "issue", "since")}, health, issueOfEphemeral},
		{entry{"an issue in 300 years", set(muchLater, "issue", "since")}, health, issueOfEphemeral},
		{entry{"an issue tried without end", set(1<<40, "repair", "attempts")}, health, issueOfEphemeral},
		{entry{"a status in 300 years", set(muchLater, "since")}, health, "subscription.neighbour"},
		{entry{"a status of less than nobody", set(-5, "listeners")}, health, "subscription.neighbour"},
		{entry{"a report at the end of times", set(endOfTimes, "timestamp")}, health, "report"},
		{entry{"a report of less than nothing", set(-5, "total_pools")}, health, "report"},
		{entry{"a position at the end of numbers", set(most, "revision")}, replays, wire.ReconciledKey},
		{entry{"half a position", set("x", "epoch")}, replays, wire.ReconciledKey},
		{entry{"a position at the end of times", set(endOfTimes, "at")}, replays, wire.ReconciledKey},
	}
}

// What the services note for themselves misleads none of them, nor whoever comes
// after them: they replace it.
func TestEntries_ThatServicesKeepForThemselvesMisleadNobody(t *testing.T) {
	t.Parallel()
	for _, tt := range notes() {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			e := harness.New(t, harness.Vars("SLUICE_SESSION_TTL", "2s"))
			e.Store("EVENTS", "events.>")
			e.Start(wire.ServiceRegistry)
			e.Start(wire.ServiceEmitter)
			monitor, replayer := e.Start(wire.ServiceHealthmon), e.Start(wire.ServiceReplayer)
			neighbour := all(e, "neighbour")
			e.Subscribe("ephemeral", client.Spec{
				Store: "EVENTS", Selector: client.Selector{ByStream: []string{wire.AllStreams}},
				Deliver: client.Deliver{Subject: "to.nobody"}, ExpireAfter: time.Hour,
			})
			b := openBucket(e, tt.bucket)
			var good jetstream.KeyValueEntry
			e.Await("the entry "+tt.key, func() (err error) {
				good, err = b.kv.Get(e.Context(), tt.key)
				return err
			})
			remembered := tt.bucket == ns.BucketReplays() || tt.key == issueOfEphemeral || tt.key == "subscription.neighbour"
			if remembered { // by whoever comes after them
				monitor.Stop()
				replayer.Stop()
			}
			b.put(tt.key, tt.harmed(e, good.Value()))
			if report, err := e.Client.HealthReport(e.Context()); err == nil && (report.TotalPools < 0 || time.Until(report.Timestamp) > 0) {
				t.Errorf("health.report = %+v", report)
			}
			if remembered {
				e.Start(wire.ServiceHealthmon)
				e.Start(wire.ServiceReplayer)
			}
			e.Await("the entry to be another", func() error {
				now, err := b.kv.Get(e.Context(), tt.key)
				if err == nil && now.Revision() <= good.Revision()+1 {
					err = errors.New("not yet")
				}
				return err
			})
			last := publishEvents(e, 5)
			neighbour.AwaitAll(upTo(1, last))
			all(e, "fresh").AwaitAll(upTo(1, last))
			e.Await("a report", func() error {
				report, err := e.Client.CheckHealth(e.Context())
				if err != nil {
					return err
				}
				for _, i := range report.Issues.Stale {
					if age := time.Since(i.Since); age < 0 || age > time.Minute {
						t.Errorf("issue %+v", i)
					}
				}
				return is(report.TotalSubscriptions, 3)
			})
		})
	}
}

// sessions are what an instance that nobody runs may say of itself.
func sessions() []entry {
	return []entry{
		{"less than no pools", set(-1, "pools")},
		{"pools without end", set(1<<40, "pools")},
		{"less than nothing in flight", set(-1, "in_flight")},
		{"a beginning at the end of times", set(endOfTimes, "started_at")},
		{"a version of a kilobyte", set(strings.Repeat("1", 1<<10), "version")},
		{"another's name", set("other", "instance")},
	}
}

func TestEntries_OfSessionsThatCannotBeTrueAreNobodys(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.Store("EVENTS", "events.>")
	e.StartAll()
	neighbour := all(e, "neighbour")
	owner := e.AwaitOwned("neighbour").Owner
	b := openBucket(e, ns.BucketSessions())
	good := b.get(wire.SessionKey(wire.ServiceEmitter, owner)).Value()
	fakes := map[string]string{}
	for i, tt := range sessions() {
		name := fmt.Sprint("fake-", i)
		fakes[name] = tt.what
		named := entry{harm: set(name, "instance")}
		b.put(wire.SessionKey(wire.ServiceEmitter, name), tt.harmed(e, named.harmed(e, good)))
	}
	report, err := e.Client.CheckHealth(e.Context())
	if err != nil || report.TotalEmitters != 1 {
		t.Errorf("report of %d emitters (%v), want 1", report.TotalEmitters, err)
	}
	last := publishEvents(e, 5)
	neighbour.AwaitAll(upTo(1, last))
	for i := range 10 {
		all(e, fmt.Sprint("fresh-", i)).AwaitAll(upTo(1, last))
	}
}
