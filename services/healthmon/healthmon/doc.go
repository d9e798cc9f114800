// Package healthmon is the health monitor: it finds what is wrong with a
// Sluice installation, says so, and repairs what can be repaired safely.
//
// # One leader
//
// Any number of instances run; one leads by a lease on the role "healthmon".
// The leader sweeps: every Config.Interval, when somebody asks, when an
// emitter comes or goes, and when something that is only suspected would have
// lasted long enough. One sweep at a time; a check that is asked for while a
// sweep runs gets a sweep of its own after it, shared by all who wait.
//
// Who asks waits for that for a moment only, unless the request says more: then the
// leader tells its last report, with how old each part of it is and what the local
// copies show to have changed since.
//
// Every instance answers requests. The last report, a subscription's status
// and the cleanup switch lie in KV, so any instance answers them by itself;
// a check and a repair are handed to the leader. While nobody leads those get
// CodeUnavailable, and nothing was done.
//
// # What is judged, and how
//
// See package check for the rules. Nothing is concluded from what could not be
// learnt. What looks wrong in the local copies of the buckets is read again
// from the server before it is judged, so that their lag fools nobody. It is read
// once it has looked so for a session TTL, since nothing is raised before, once as
// long as it looks the same, and for a second in a sweep: what is left raises
// nothing, and has its turn at the next one, which follows at once. That
// nobody listens is asked twice, a moment apart, with probes that deliver
// nothing.
//
// Times are the server's, which is asked at every sweep; the clock of the machine
// only measures what passes between two of its answers. Where a bucket is missing
// without which nothing can be judged, that is the report.
//
// The status of the report is healthy without issues; failing with a missing
// or stalled pool, a lost or unreadable store, a corrupt or vanished record or a
// missing bucket; degraded with any other issue. The status of one subscription follows from its own issues in the
// same way, and is paused where it is paused and nothing is failing.
//
// # Repairs
//
//	stale_subscriptions  an ephemeral one is removed after expire_after without a
//	                     listener and without an answer; a durable one never
//	orphaned_pools       the pool entry is removed
//	missing_pools        the emitters are asked to reconcile; where the owner answers
//	                     that it does not have the pool the claim is freed
//	unobserved_changes   the emitters are asked to reconcile
//	stalled_pools        the claim is freed, so that an emitter takes it anew, if the
//	                     owner, asked once more, still shows no movement
//	corrupt_records      the entry is quarantined; a subscription's last readable
//	                     revision takes its place, if there is one
//
// Each write is a compare-and-swap on the revision that was judged, and each
// repair looks again just before it acts. Automatic repairs happen while the
// cleanup switch is on, at most Config.CleanupMaxAttempts times for one issue
// with Config.CleanupRetryDelay in between; then the report says given_up until
// the issue clears. Attempts are counted in KV before they are made, so neither
// a crash nor a change of leader gives any back. A repair by hand ignores
// switch and limit.
//
// A sweep makes some automatic repairs, and the next one, a second later, others.
//
// An orphaned pool whose subscription left no trace of a deletion, although
// the pool had seen it, is not removed automatically: a bucket that lost
// records must not cost the checkpoints too.
//
// # What lies in the health bucket
//
//	report                 the last report
//	subscription.<name>    the status, written when its word changes, or the kinds of
//	                       its reasons; that of the last sweep is the leader's to tell
//	cleanup                the switch, once somebody has set it
//	issue.<kind>.<name>    since when an issue lasts and what was tried
//
// What changed is written by compare-and-swaps of which many are under way at once.
// Beside a word that stays the numbers of a status are written when they are an hour
// old and have changed, a thousand of them in a sweep: 50,000 that all move all the
// time are so some ten writes a second, and not as many as the sweep has time for.
package healthmon
