// Package event is one event of a store inside an emitter: read once, shared
// by every subscription that gets it, never copied and never changed. What
// selectors see of it is package selector's; here is what deliveries need.
package event
