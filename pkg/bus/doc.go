// Package bus is how every service of Sluice meets NATS: it connects, creates
// the buckets and streams that are missing, and publishes advisories.
//
// Whatever needs NATS waits for it here and says so in the log; nothing in
// this package gives up before its context ends.
package bus
