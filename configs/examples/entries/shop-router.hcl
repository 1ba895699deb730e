# chowk config write configs/examples/entries/shop-router.hcl
Kind = "service-router"
Name = "shop"

Routes = [
  {
    Match {
      HTTP {
        PathPrefix = "/api/"
        Methods    = ["GET", "HEAD"]
      }
    }
    Destination {
      Service               = "api"
      RequestTimeout        = "2s"
      NumRetries            = 2
      RetryOnConnectFailure = true
    }
  },
  {
    Match { HTTP { PathExact = "/old" } }
    Destination { Redirect { Path = "/new" } }
  }
]
