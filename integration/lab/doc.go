// Package lab runs Sluice for measurements: a nats-server and the services as
// processes of their own, on loopback and in directories that end with them, and
// what each process uses.
//
// A [World] is one installation. It is not for tests, which use the harness:
// the programs of the lab are the real binaries, and errors are returned.
package lab
