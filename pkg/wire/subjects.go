package wire

import (
	"fmt"
	"regexp"
	"strings"
)

// Namespace prefixes every subject, stream and bucket of one Sluice
// installation, so that several can share a NATS system.
type Namespace string

// DefaultNamespace is used where SLUICE_NAMESPACE is not set.
const DefaultNamespace Namespace = "sluice"

var namespacePattern = regexp.MustCompile(`^[a-z0-9_-]{1,16}$`)

// Validate reports whether n may be used as a namespace.
func (n Namespace) Validate() error {
	if !namespacePattern.MatchString(string(n)) {
		return fmt.Errorf("namespace %q: want 1 to 16 characters of a-z, 0-9, _ and -", string(n))
	}
	return nil
}

// Version is the version of the contract's implementation that the services
// announce (SemVer).
const Version = "0.1.0"

// Verbs of the request interface. A verb that acts on one thing is followed
// by that thing's name or id as the last token of the subject.
const (
	VerbSubscribe          = "subscribe"
	VerbUnsubscribe        = "unsubscribe"
	VerbGet                = "subscription.get"
	VerbList               = "subscription.list"
	VerbPause              = "subscription.pause"
	VerbResume             = "subscription.resume"
	VerbSeek               = "subscription.seek"
	VerbExplain            = "subscription.explain"
	VerbHealthCheck        = "health.check"
	VerbHealthReport       = "health.report"
	VerbHealthSubscription = "health.subscription"
	VerbHealthCleanup      = "health.cleanup"
	VerbHealthRepair       = "health.repair"
	VerbReplayStart        = "replay.start"
	VerbReplayGet          = "replay.get"
	VerbReplayList         = "replay.list"
	VerbReplayCancel       = "replay.cancel"
	VerbReplayPause        = "replay.pause"
	VerbReplayResume       = "replay.resume"
	VerbParkedList         = "parked.list"
	VerbParkedReplay       = "parked.replay"
	VerbParkedDiscard      = "parked.discard"
)

// API returns the request subject of verb, for the given name or id if any.
func (n Namespace) API(verb string, name ...string) string {
	return strings.Join(append([]string{string(n), "v1.api", verb}, name...), ".")
}

// Advisory returns the subject of an advisory, e.g. Advisory("pool.claimed", "triage").
func (n Namespace) Advisory(what, name string) string {
	return string(n) + ".v1.advisory." + what + "." + name
}

// Advisories is the filter over all advisories.
func (n Namespace) Advisories() string { return string(n) + ".v1.advisory.>" }

// Parked returns the subject that keeps the parked events of a subscription.
func (n Namespace) Parked(name string) string { return string(n) + ".v1.parked." + name }

// Quarantine returns the subject that keeps unreadable entries of a bucket.
func (n Namespace) Quarantine(bucket string) string { return string(n) + ".v1.quarantine." + bucket }

// HealthReport is the subject on which each sweep's report is published.
func (n Namespace) HealthReport() string { return string(n) + ".v1.health.report" }

// HealthSubscription is the subject on which changes of one subscription's status are published.
func (n Namespace) HealthSubscription(name string) string {
	return string(n) + ".v1.health.subscription." + name
}

// ReconcileReport is the subject on which the replayer publishes what it found
// and did after a move of leadership.
func (n Namespace) ReconcileReport() string { return string(n) + ".v1.lifecycle.report" }

// Lifecycle is the subject on which the replayer replays a transition of one
// subscription to the emitters.
func (n Namespace) Lifecycle(name string) string { return string(n) + ".v1.lifecycle.replay." + name }

// OwnSubject reports whether subject belongs to an installation of Sluice,
// whatever its namespace: a delivery there would be a request to it, or would
// be taken for its own word.
func OwnSubject(subject string) bool {
	tokens := strings.SplitN(subject, ".", 4)
	if len(tokens) < 3 || tokens[1] != "v1" {
		return false
	}
	switch tokens[2] {
	case "api", "advisory", "health", "lifecycle", "parked", "quarantine":
		return true
	}
	return false
}

// internal is the root of subjects that only Sluice's services speak on.
func (n Namespace) internal() string { return InternalPrefix + string(n) }

// InternalPrefix begins every internal subject; deliveries may not go there.
const InternalPrefix = "_SLUICE."

// Session is the subject on which a live instance answers presence probes.
func (n Namespace) Session(service, instance string) string {
	return n.internal() + ".session." + service + "." + instance
}

// Answers is the prefix of the reply subjects on which an emitter instance
// takes its subscribers' answers.
func (n Namespace) Answers(instance string) string {
	return n.internal() + "." + answersToken + "." + instance
}

// answersToken stands behind the namespace in the subjects of answers.
const answersToken = "ack"

// EmitterPools is the subject on which an emitter instance tells the live
// state of its pools: body {"names": [...]} (empty: all), answer PoolsResponse.
func (n Namespace) EmitterPools(instance string) string {
	return n.internal() + ".pools." + instance
}

// Buckets and streams.

// BucketSubscriptions holds the records.
func (n Namespace) BucketSubscriptions() string { return string(n) + "_subscriptions" }

// BucketPools holds claim and checkpoint of each pool.
func (n Namespace) BucketPools() string { return string(n) + "_pools" }

// BucketSessions holds presence and leader leases; its entries expire.
func (n Namespace) BucketSessions() string { return string(n) + "_sessions" }

// BucketHealth holds reports, status and the monitor's switches.
func (n Namespace) BucketHealth() string { return string(n) + "_health" }

// BucketReplays holds replays and the replayer's own position.
func (n Namespace) BucketReplays() string { return string(n) + "_replays" }

func (n Namespace) stream(suffix string) string { return strings.ToUpper(string(n)) + suffix }

// StreamAdvisories keeps advisories for seven days.
func (n Namespace) StreamAdvisories() string { return n.stream("_ADVISORIES") }

// StreamParked keeps parked events.
func (n Namespace) StreamParked() string { return n.stream("_PARKED") }

// StreamQuarantine keeps entries that could not be read.
func (n Namespace) StreamQuarantine() string { return n.stream("_QUARANTINE") }

// Name of each service in the NATS micro framework, without the namespace.
const (
	ServiceRegistry  = "registry"
	ServiceEmitter   = "emitter"
	ServiceHealthmon = "healthmon"
	ServiceReplayer  = "replayer"
)

// MicroName is the name under which a service shows in `nats service ls`.
func (n Namespace) MicroName(service string) string { return string(n) + "-" + service }

// SessionKey is the key of an instance's session in the sessions bucket.
func SessionKey(service, instance string) string { return service + "." + instance }

// LeaderKey is the key of a role's lease in the sessions bucket.
func LeaderKey(role string) string { return "leader." + role }

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ValidName reports whether s may name a subscription. Keys of the
// subscriptions bucket that are no valid names (they contain a dot) are the
// services' own and are ignored by everything that lists subscriptions.
func ValidName(s string) bool { return namePattern.MatchString(s) }

// BarrierKey is the key in the subscriptions bucket that the replayer writes
// to learn a revision below which its history is complete.
const BarrierKey = "barrier.replayer"

// Keys in the replays bucket that are the replayer's own. No replay has such
// an id.
const (
	ReconciledKey      = "reconciled" // up to where the history was reconciled
	ReconcileReportKey = "report"     // the last report that found something
)
