// Package bucket reads and changes key-value buckets safely.
//
// The client library reads an entry by a direct get, where two things can go
// wrong: a replica that lags behind answers, and an entry that somebody wrote
// with a header "Status" is taken for the server's refusal. Here the leader is
// asked, and what an entry says of itself steers nothing, but for the headers by
// which a bucket marks a key as deleted.
//
// Change is the one loop of compare-and-swap. It knows that a write without an
// answer may have been made, and reads before it concludes anything.
package bucket
