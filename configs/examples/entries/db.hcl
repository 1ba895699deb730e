# chowk config write configs/examples/entries/db.hcl
Kind = "service-intentions"
Name = "db"

Sources = [
  {
    Name   = "web"
    Action = "allow"
  },
  {
    Name = "reports"
    Permissions = [
      {
        Action = "allow"
        HTTP {
          PathPrefix = "/read/"
          Methods    = ["GET", "HEAD"]
        }
      },
      {
        Action = "deny"
        HTTP { PathPrefix = "/" }
      }
    ]
  },
  {
    Name   = "*"
    Action = "deny"
  }
]
