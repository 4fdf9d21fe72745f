// Package ca keeps the user's own certificate authority: it makes one at first
// use, mints leaves for hosts and caches them. It trusts nobody's client and
// changes no system's trust store unless asked to.
//
// The authority is one per user. Its secret file (key and certificate together,
// mode 0600) is the truth; the public file beside it is a copy to hand out.
package ca
