// Package event is one event of a store inside an emitter: read once, shared
// by every subscription that gets it, never copied and never changed.
package event
