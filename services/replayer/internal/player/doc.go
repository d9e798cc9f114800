// Package player runs replays: it claims those that nobody runs, and delivers
// each through a pool of its own, beside live delivery.
//
// A pool of a replay is one as the emitters run it, with an end and perhaps a
// rate. So lanes, answers, retries, the breaker and parking are the same. Its
// place is in the entry of the replay, together with the claim: package jobs.
//
// Each replay that runs has one goroutine, its play. That writes the entry, at
// most ten times a second, and stops the pool where the replay has come to its
// end, was told to stop, or is somebody else's. Nothing is written in the name of
// a claim that is lost.
package player
