// Package parked carries out what users ask about parked events: to show them,
// and to discard them.
//
// The parked stream is the only truth. A request reads the events of its name in
// the order in which they were parked, holds each against what was asked for,
// and keeps numbers of them, never the events. So its memory is bounded, however
// many there are. It works until a while after its arrival, and then says how
// far it has come.
//
// To discard is to do two things, batch by batch: an advisory is stored that
// says what goes, and then it goes. A process that is killed in between leaves
// events that were told of. The same request again tells of them again, and
// discards them. None goes that a request did not look at: what is parked
// meanwhile has a higher sequence.
package parked
