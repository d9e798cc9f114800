package check

import (
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// unreadable raises the issue of a store that is there and cannot be read: as
// the owners say of pools of its subscriptions, rs, or as the server answers the
// monitor itself. A store that only does not answer may be on its way back.
func (j *judge) unreadable(name string, rs []*wire.Record) {
	st := j.s.Stores[name]
	if st.Known && !st.Exists {
		return // it is lost
	}
	told, silent := map[string]string{}, false
	var affected []*wire.Record
	for _, r := range rs {
		live, ok := j.live(r)
		silent = silent || !ok && j.owned(r)
		if !ok || live.Unreadable == "" {
			continue
		}
		affected = append(affected, r)
		if len(told) < maxNames {
			told[r.Name] = live.Unreadable
		}
	}
	ref := Ref{wire.IssueUnreadableStore, name}
	switch {
	case st.Refused != "":
		affected = rs
	case len(affected) > 0:
	case silent || !st.Known:
		j.keep(ref.Kind, name, "")
		j.concern(ref, rs)
		return
	default:
		return
	}
	j.lasting(finding{
		kind: ref.Kind, name: name, detail: unreadableDetail(st, affected, told),
		evidence: map[string]any{
			"subscriptions": names(affected), "subscription_count": len(affected), "reasons": told,
			"refused": st.Refused, "store_known": st.Known, "store_last": st.Last,
		},
	}, time.Time{}, j.cfg.Grace)
	j.concern(ref, affected)
}

func unreadableDetail(st Store, affected []*wire.Record, told map[string]string) string {
	if st.Refused != "" {
		return "the store cannot be read, the monitor is refused: " + st.Refused
	}
	first := names(affected)[0]
	return fmt.Sprintf("the store cannot be read for %d subscriptions: %s", len(affected), told[first])
}
