# The neighbour list that every installation of atomzoo brings.
execute_process(
  COMMAND ${Python_EXECUTABLE} -c
    "import importlib.util as u; print(u.find_spec('vesin').submodule_search_locations[0])"
  OUTPUT_VARIABLE vesin_folder OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
add_library(vesin SHARED IMPORTED)
find_library(vesin_library vesin PATHS ${vesin_folder}/lib NO_DEFAULT_PATH REQUIRED)
set_target_properties(vesin PROPERTIES
  IMPORTED_LOCATION ${vesin_library}
  INTERFACE_INCLUDE_DIRECTORIES ${vesin_folder}/include
  INTERFACE_COMPILE_DEFINITIONS VESIN_SHARED)
