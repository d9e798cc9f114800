// Package natstest runs nats-servers for tests: embedded, on loopback, on a
// port of their own, with JetStream in a directory that goes with the test.
//
// It also has a bucket in memory (KV) for tests of timing under
// testing/synctest, where a real socket would stop the fake clock.
//
// Only tests may import it.
package natstest
