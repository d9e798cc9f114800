// Package events makes the input of tests and measurements: realistic events,
// generated from a seed, and real ones where a copy is at hand.
//
// Generated events come from five domains (orders, payments, users, devices,
// repos), of 150 types over 200 streams. Bodies are nested JSON of 1 to 30 KB,
// most of them small, with arrays of objects, nulls, empty containers, text
// in several scripts, decimals in several notations and integers beyond 2^53.
// Most events are CloudEvents in binary mode; half of those of the domain
// devices have no ce-type, and their type is the last token of the subject.
// A few bodies are no JSON.
package events
