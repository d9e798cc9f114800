// Package harness runs Sluice for black-box tests: a nats-server, the services
// in the test's process or as child processes, and recorders that play
// subscribers.
//
// An [Env] is one installation on a server of its own, so that tests run beside
// each other. Parts are started with [Env.Start] and [Env.Spawn], which return
// when the part is ready. What a part logged is shown if the test fails.
//
// Every wait is bounded and ends the test when it runs out. Methods that take
// no context fail the test instead of returning errors, so they are for the
// test's own goroutine.
package harness
