// Package jobs keeps replays, and decides what may become of them.
//
// A replay is one entry of the replays bucket. Claim and checkpoint lie in it
// together, and every write names the revision that it replaces: what an owner
// writes that is not the owner any more fails.
//
//	state      by                    then
//	pending    start, resume         running
//	running    a claim               finished, failed, paused, cancelled; pending if its owner hands it over
//	paused     pause                 pending, cancelled
//	finished   the owner             nothing: it is removed after Retention
//	failed     the owner             likewise
//	cancelled  cancel                likewise
//
// One that is running may be claimed where its owner is dead, under a higher
// epoch. An owner that was told to pause or to cancel writes how far it came,
// unless somebody has claimed the replay since. The order stands meanwhile.
package jobs
