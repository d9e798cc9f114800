package check

import (
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

// What nobody asked the server about may be the lag of a copy.
func TestWhatIsNotConfirmedIsNotRaisedAndNotRepaired(t *testing.T) {
	t.Parallel()
	for kind, harm := range map[string]func(w *world){
		wire.IssueMissingPool:      func(w *world) { w.Pools[0].Pool.Owner = "emitter-gone" },
		wire.IssueOrphanedPool:     func(w *world) { w.Records = nil },
		wire.IssueUnobservedChange: func(w *world) { w.Pools[0].Pool.ObservedGeneration = 2 },
		wire.IssueCorruptRecord:    func(w *world) { w.Records[0].Record = nil },
	} {
		w := newWorld()
		harm(w)
		w.Unconfirmed = map[string]bool{"triage": true}
		find := func() (found wire.Issue, res Result) {
			res = Judge(cfg, w.mem, w.Snapshot)
			w.mem, w.At = res.Memory, w.At.Add(2*cfg.Grace)
			for _, i := range res.Issues {
				if i.Kind == kind {
					found = i
				}
			}
			return found, res
		}
		for range 3 {
			if i, res := find(); i.Kind != "" || res.Recheck == 0 {
				t.Errorf("%s was raised, or nobody looks again (after %s): %+v", kind, res.Recheck, i)
			}
		}
		w.Unconfirmed = nil
		i, _ := find()
		if i.Repair == "" {
			t.Errorf("%s, confirmed: %+v, want it with a repair", kind, i)
		}
		w.Unconfirmed = map[string]bool{"triage": true}
		if again, _ := find(); again.Kind == "" || again.Repair != "" || !again.Since.Equal(i.Since) {
			t.Errorf("%s, no more confirmed: %+v, want it to stay, without a repair", kind, again)
		}
	}
}
