// Package auth says who is asking and whether they may: two small interfaces that every request passes, Authenticator
// and Authorizer, and the implementation for loopback mode.
//
// In loopback mode there are no credentials: whoever can open a connection to 127.0.0.1 is the machine's user and is
// taken as petrel:admin. What has to be kept out are web pages in that user's browser, which can open the same
// connection: Loopback refuses a Host that is no loopback name (a page whose name was made to resolve to 127.0.0.1)
// and requests that a page of another origin caused.
//
// Invariants: a refusal is a *Refusal with a status and a text that names cause and mend; nothing here reads a body.
// It imports the standard library only.
package auth
