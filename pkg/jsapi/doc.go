// Package jsapi has the requests of the JetStream API that the client library
// does not make, or not in a way that is safe here.
//
// The library's reads are direct gets where the stream allows them. Any replica
// may answer such a get, and one that lags behind finds nothing. The answer also
// carries the headers of the stored message as its own, so that a stored message
// with a header "Status" is taken for the server's refusal. Here the stream's
// leader is asked, and it answers with JSON: what a message says of itself stays
// inside it.
package jsapi
