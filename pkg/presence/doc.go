// Package presence asks the NATS servers who would get a message, without
// sending it to anybody.
//
// A message with the headers Nats-Trace-Only and Nats-Trace-Dest is routed
// but not delivered (ADR-41). Each server on its way sends one trace to the
// inbox: an egress per subscription that would have got it, an entry per
// stream that would have stored it, and a hop per server it was passed on to,
// which sends a trace of its own. A subject is known to have no listeners
// only when every hop that was announced has reported; until then, and with
// servers before 2.11, which would deliver the message, the answer is
// "not known". Of a queue group the servers name the one member that they
// would have chosen, so a group counts once.
package presence
