// Package bucket reads key-value buckets safely.
//
// The client library reads an entry by a direct get, where two things can go
// wrong: a replica that lags behind answers, and an entry that somebody wrote
// with a header "Status" is taken for the server's refusal. Here the leader is
// asked, and what an entry says of itself steers nothing, but for the headers by
// which a bucket marks a key as deleted.
package bucket
