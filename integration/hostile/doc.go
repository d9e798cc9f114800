// Package hostile holds tables of hostile inputs: what strangers may write into
// events, answers, requests, buckets and the environment. Each table is run
// against the whole product. A new case is one more line of its table.
package hostile
