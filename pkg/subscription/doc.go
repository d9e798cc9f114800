// Package subscription is the life of a subscription's data: the strict
// decoding of requests, defaults, validation, the codec of what lies in KV,
// and the compare-and-swap stores of records and pools.
//
// Requests are judged by rules that report every fault at once, each with the
// path of its field. Entries read from KV are judged by the same rules, save
// that members unknown to this version are ignored, so that a newer one may
// add some; whatever is wrong with an entry is an error, never a panic.
package subscription
