// Package feed reads a JetStream stream in order, each message once, through
// short-lived consumers that it makes anew whenever something is amiss.
//
// What is a message and what is a word of the protocol, the server alone
// decides: a stored message comes with a reply subject "$JS.ACK.…", which no
// client can send, and a word of the protocol comes without one. What the
// headers of a message say, "Status: 503" and "Nats-Pin-Id" among them, is for
// whoever reads the message.
//
// The server numbers what it delivers through one consumer. A number that is
// left out, a consumer that is gone, one that is silent, a refused request: each
// ends the consumer, and the next one begins behind the last message that was
// handled. So a Feed that reads on has lost and repeated nothing. Between
// consumers that brought nothing it waits, up to a second. A new connection is no
// such reason: the consumer is in a server, and may well outlive it.
//
// A Feed asks for more only as its handler keeps up: at most Config.Messages
// and Config.Bytes lie in the client.
package feed
