package repair

import (
	"fmt"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Actions.
const (
	RemoveSubscription = "remove_subscription" // an ephemeral one whose time is over
	RemovePool         = "remove_pool"
	StartPool          = "start_pool" // ask the emitters to reconcile a pool that should run
	ReconcilePool      = "reconcile_pool"
	RestartPool        = "restart_pool" // free the claim, so that it is taken anew
	QuarantineRecord   = "quarantine_record"
	RestoreRecord      = "restore_record" // write back the last known record of a subscription; only by hand
)

// Facts are what a plan depends on beside the issue.
type Facts struct {
	Expired  bool // the subscription is ephemeral and its time without a subscriber is over
	Durable  bool // the subscription is never removed by itself
	Emitters int  // live ones
	ByHand   bool // a person asked for it
}

// Plan returns the action that the issue calls for, or "" and why there is none.
func Plan(i wire.Issue, f Facts) (action, reason string) {
	switch i.Kind {
	case wire.IssueStale:
		return planStale(i, f)
	case wire.IssueMissingPool, wire.IssueUnobservedChange:
		switch {
		case f.Emitters == 0:
			return "", "no emitter is alive that could be asked"
		case i.Repair == "":
			return "", "what the owner says is not known, or has not lasted for long enough"
		}
		return i.Repair, ""
	case wire.IssueStalledPool:
		return planStalled(i, f)
	default:
		if i.Repair == RestoreRecord && !f.ByHand {
			return "", "nobody deleted the record, but somebody may want it gone: a person must decide"
		}
		if i.Repair == "" {
			return "", "there is no repair that the monitor could make: a person must decide"
		}
		return i.Repair, ""
	}
}

// Possible reports whether the monitor has a repair for the issue, or will have
// one, if it lasts. Where it has none a person must decide.
func Possible(i wire.Issue, f Facts) bool {
	switch i.Kind {
	case wire.IssueStale:
		return !f.Durable
	case wire.IssueMissingPool, wire.IssueUnobservedChange:
		return f.Emitters > 0
	case wire.IssueStalledPool:
		n, ok := number(i.Evidence["in_flight"])
		return !ok || n == 0
	default:
		return i.Repair != "" && (i.Repair != RestoreRecord || f.ByHand)
	}
}

func planStalled(i wire.Issue, f Facts) (action, reason string) {
	n, ok := number(i.Evidence["in_flight"])
	switch {
	case f.ByHand:
		return RestartPool, ""
	case ok && n > 0:
		return "", fmt.Sprintf("%v deliveries are out, a restart would repeat them: a person must decide", n)
	case i.Repair == "":
		return "", "the pool has not been watched for long enough since its last claim"
	default:
		return RestartPool, ""
	}
}

func planStale(i wire.Issue, f Facts) (action, reason string) {
	switch {
	case f.Durable:
		return "", "a durable subscription is never removed by the monitor"
	case !f.Expired:
		return "", fmt.Sprintf("an ephemeral subscription is removed after %v without a subscriber, since %s it is not that long",
			i.Evidence["expire_after"], i.Since.Format("2006-01-02T15:04:05Z07:00"))
	default:
		return RemoveSubscription, ""
	}
}

// number reads a number that was made here or came back from JSON.
func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case float64:
		return n, true
	default:
		return 0, false
	}
}
