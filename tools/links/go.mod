// What TCP feels of a link, apart from what the product needs.
module github.com/understudy-proxy/understudy/tools/links

go 1.26.0
