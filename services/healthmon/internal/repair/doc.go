// Package repair decides what is done about an issue, and counts how often it
// has been tried.
//
// Plan says which action an issue calls for, if any. Book lets an action be
// tried at most Limits.MaxAttempts times for one issue, with Limits.Delay in
// between, and then gives up until the issue has cleared. An attempt counts
// whatever its outcome: a repair that reports success while the issue stays is
// no repair. Entries are values that the caller keeps in KV, so that the count
// survives restarts and changes of leader.
//
// No action of this package removes a durable subscription.
package repair
