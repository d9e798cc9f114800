package check

import (
	"cmp"
	"slices"
	"strings"

	"github.com/sluicehq/sluice/pkg/wire"
)

// readStores judges the stores that records name: by what a store is, and by
// what the pools say that read it.
func (j *judge) readStores() {
	users := map[string][]*wire.Record{}
	for i := range j.s.Records {
		if r := j.s.Records[i].Record; r != nil {
			users[r.Spec.Store] = append(users[r.Spec.Store], r)
		}
	}
	for name, rs := range users {
		if _, held := j.prev.Issues[Ref{wire.IssueLostStore, name}]; held && !j.s.Stores[name].Known {
			j.keep(wire.IssueLostStore, name, "")
			j.concern(Ref{wire.IssueLostStore, name}, rs)
			continue
		}
		j.lostStore(name, rs)
		j.unreadable(name, rs)
	}
}

// concern notes that an issue of a stream, if there is one, concerns rs.
func (j *judge) concern(ref Ref, rs []*wire.Record) {
	if _, ok := j.found[ref]; !ok {
		return
	}
	for _, r := range rs {
		j.stores[r.Name] = append(j.stores[r.Name], ref)
	}
}

// lostStore raises the issue of a store if some of its subscriptions, rs, have
// lost it.
func (j *judge) lostStore(name string, rs []*wire.Record) {
	st := j.s.Stores[name]
	var lost []*wire.Record
	var why []string // each reason once
	reasons := map[string]string{}
	for _, r := range rs {
		reason := j.loss(r, st)
		if reason == "" {
			continue
		}
		lost = append(lost, r)
		if len(reasons) < maxNames {
			reasons[r.Name] = reason
			why = append(why, reason)
		}
	}
	if len(lost) == 0 {
		return
	}
	slices.Sort(why)
	f := finding{
		kind: wire.IssueLostStore, name: name, detail: strings.Join(slices.Compact(why), "; "),
		evidence: map[string]any{
			"subscriptions": names(lost), "subscription_count": len(lost), "reasons": reasons,
			"store_known": st.Known, "store_exists": st.Exists,
		},
	}
	if st.Exists {
		f.evidence["store_created"], f.evidence["store_last"] = st.Created.UTC(), st.Last
	}
	j.raise(f, j.s.At)
	j.concern(Ref{wire.IssueLostStore, name}, lost)
}

// loss says why the store is lost to a subscription, "" that it is not. Where
// nothing is wrong with the store itself the pool may know more: it has seen
// it end before its checkpoint, say.
func (j *judge) loss(r *wire.Record, st Store) string {
	if st.Known && !st.Exists {
		return "the store does not exist"
	}
	if otherStore(r, st) {
		return "the store was deleted and created again: its sequences are not those that the subscription knew"
	}
	var state wire.PoolState
	var reason string
	if p := j.pools[r.Name]; p != nil && p.Pool != nil && p.Pool.UID == r.UID {
		state, reason = p.Pool.State, p.Pool.Reason // as its owner wrote last
	}
	if live, ok := j.live(r); ok {
		state, reason = live.State, live.Reason
	}
	if state != wire.PoolStoreLost {
		return ""
	}
	return cmp.Or(reason, "the pool says that its store is lost")
}

// otherStore reports whether the store is not the one that r was made for.
func otherStore(r *wire.Record, st Store) bool {
	return st.Known && st.Exists && !r.StoreCreated.IsZero() && !st.Created.IsZero() && !st.Created.Equal(r.StoreCreated)
}

// maxNames bounds the names that one issue lists.
const maxNames = 20

func names(rs []*wire.Record) []string {
	out := make([]string, 0, min(len(rs), maxNames))
	for _, r := range rs[:min(len(rs), maxNames)] {
		out = append(out, r.Name)
	}
	slices.Sort(out)
	return out
}
