package healthmon

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

func TestTheOutcomeOfARequestWithoutAReplySubjectIsAnAdvisory(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.emitter("emitter-1", idle("emitter-1", 0))
	e.subscribe("fine", "GITHUB", old)
	e.pool("fine", "uid-fine", "emitter-1", 0)
	e.listen("to.fine")
	cfg := slow()
	cfg.CleanupEnabled = false
	e.leader(e.start(cfg))
	e.await("the emitter", func(r wire.Report) error {
		if r.TotalEmitters != 1 {
			return errors.New("no emitter")
		}
		return nil
	})
	e.pool("orphan", "uid-gone", "", 3)
	for _, tt := range []struct {
		verb, body string
		what, name string // of the advisory
		outcome    string
		code       wire.ErrCode
	}{
		{"health.repair", `{"kind":"missing_pools","name":"fine"}`, "health.repair_skipped", "fine", outcomeNothing, 0},
		{"health.repair", `{"kind":"orphaned_pools","name":"orphan","dry_run":true}`, "health.repair_skipped", "orphan", outcomeWouldDo, 0},
		{"health.repair", `{"kind":"orphaned_pools","name":"orphan"}`, "health.repaired", "orphan", "", 0},
		{"health.repair", `{"kind":"nonsense","name":"orphan"}`, "health.repair_failed", "orphan", "", wire.CodeBadField},
		{"health.repair", `{"kind":"missing_pools","name":"unheard-of"}`, "health.repair_failed", "unheard-of", "", wire.CodeNoSubscription},
		{"health.repair", `{`, "health.repair_failed", "unknown", "", wire.CodeBadJSON},
		{"health.cleanup", `{"enabled":false}`, "health.cleanup_switched", "healthmon", "", 0},
		{"health.cleanup", `{"enabled":"no"}`, "health.rejected", "healthmon", "", wire.CodeBadField},
		{"health.check", `{"x":1}`, "health.rejected", "healthmon", "", wire.CodeBadField},
		{"health.check", strings.Repeat(" ", maxBody+1), "health.rejected", "healthmon", "", wire.CodeTooLarge},
		{"health.report", `[]`, "health.rejected", "healthmon", "", wire.CodeBadJSON},
		{"health.subscription.unheard-of", ``, "health.rejected", "unheard-of", "", wire.CodeNoSubscription},
	} {
		t.Run(tt.verb+" "+tt.what+" "+tt.name, func(t *testing.T) {
			got := e.outcome(tt.verb, tt.body, tt.what, tt.name)
			if tt.outcome != "" && got.Data["outcome"] != tt.outcome {
				t.Errorf("advisory = %+v, want outcome %s", got, tt.outcome)
			}
			if tt.code != 0 && (got.Error == nil || got.Error.ErrCode != tt.code) {
				t.Errorf("advisory = %+v, want error %d", got, tt.code)
			}
		})
	}
}

// outcome publishes a request without a reply subject and returns the advisory
// of what about name that follows.
func (e *env) outcome(verb, body, what, name string) wire.Advisory {
	e.t.Helper()
	sub, err := e.nc.SubscribeSync(ns.Advisory(what, name))
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := e.nc.Publish(ns.API(verb), []byte(body)); err != nil {
		e.t.Fatal(err)
	}
	m, err := sub.NextMsg(20 * time.Second)
	if err != nil {
		e.t.Fatalf("waiting for %s about %s: %v", what, name, err)
	}
	var a wire.Advisory
	if err := json.Unmarshal(m.Data, &a); err != nil {
		e.t.Fatal(err)
	}
	return a
}
