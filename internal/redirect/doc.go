// Package redirect accepts connections that netfilter led here and tells whom
// they were for, and writes the nftables rules that lead them. It carries no
// byte and knows neither pipeline nor configuration.
//
// A Door takes what nft or iptables redirect: with REDIRECT the original
// destination is what connection tracking remembers (SO_ORIGINAL_DST), with
// TPROXY it is the accepted socket's own address. Rules writes the rules of
// REDIRECT; a Lease takes them away again, whatever becomes of this process. Own
// keeps this process's own connections out of its doors: by a mark where it may
// set one, and by recognising them where it may not. See docs/sidecar.md.
package redirect
