// Package checkpoint keeps track of which events a pool has finished, and says
// so in the form that is stored: a floor and the finished ranges above it.
//
// It is pure bookkeeping: no I/O, no locks; the pool that owns a Tracker
// guards it. It remembers unfinished events only, so what it holds does not
// grow while one event stays unfinished and others pass it.
package checkpoint
