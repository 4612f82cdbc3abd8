// Package auth says who is asking and whether they may: two small interfaces that every request passes, Authenticator
// and Authorizer, with an implementation of each for loopback mode and for an API that speaks TLS.
//
// In loopback mode there are no credentials: whoever can open a connection to 127.0.0.1 is the machine's user and is
// taken as petrel:admin. What has to be kept out are web pages in that user's browser, which can open the same
// connection: Loopback refuses a Host that is no loopback name (a page whose name was made to resolve to 127.0.0.1)
// and requests that a page of another origin caused.
//
// Over TLS, Credentials takes client certificates of the cluster's authority (common name: user, organizations:
// groups), bootstrap tokens and the tokens of a file, and Members decides by group until roles are served.
//
// Invariants: a refusal is a *Refusal with a status and a text that names cause and mend, and no part of a secret;
// secrets are compared in constant time; who shows a credential that is not taken is never let through as anonymous;
// nothing here reads a body.
//
// It imports the standard library and its own jointoken only.
package auth
