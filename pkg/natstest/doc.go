// Package natstest runs nats-servers for tests: embedded, on loopback, on a
// port of their own, with JetStream in a directory that goes with the test.
//
// Only tests may import it.
package natstest
