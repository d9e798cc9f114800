// Package standalone is Sluice in one process: an embedded nats-server with
// JetStream and the four services, which use it like any other.
//
// The services stop before the server does, so that they can drain. The server
// asks no client who it is: it is for one machine, not for a network.
package standalone
