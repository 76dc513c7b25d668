"""HTTP/1.1 as a VEN needs it: small POSTs over connections that are kept, with little memory and time for each."""
